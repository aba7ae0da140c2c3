"""SuperGLUE's sentence pairs as text: BoolQ, CB, RTE, WiC, WSC, with the templates of GPT-3's appendix G.

Classes are words of one or two tokens, so nothing is normalised. RTE is read from GLUE's files. WSC's noun is written
and compared with the one that is asked about; solved examples are those where it is the right one.
"""

from ssl_jax.data.tasks import formats, glue, superglue
from ssl_jax.fewshot.items import Item, Protocol, Task
from ssl_jax.fewshot.tasks import published
from ssl_jax.fewshot.tasks.choices import labelled
from ssl_jax.fewshot.tasks.published import checked

NO_YES = (" no", " yes")


def _boolq(example):
    """The passage stands second where it is fine-tuned on."""
    return Item(f"{example.text2}\nquestion: {example.text}?\nanswer:", NO_YES, example.label)


def _cb(example):
    hypothesis = example.text2.strip().removesuffix(".")
    return Item(f"{example.text.strip()}\nquestion: {hypothesis}. true, false, or neither?\nanswer:",
                (" true", " false", " neither"), example.label)  # fmt: skip


def _rte(example):
    context = f"{example.text}\nquestion: {example.text2} True or False?\nanswer:"
    return Item(context, (" True", " False"), example.label)


def _wic_records(record, where, labels):
    yield checked(record, where, word=str, sentence1=str, sentence2=str) | {
        "gold": formats.number_of(record["label"], labels, where)
    }


def _wic(record):
    return Item("{sentence1}\n{sentence2}\nquestion: Is the word '{word}' used in the same way in the two sentences "
                "above?\nanswer:".format(**record), NO_YES, record["gold"])  # fmt: skip


def _wsc_records(record, where, labels):
    """The pronoun between asterisks, as in the set that is fine-tuned on."""
    (example,) = superglue.SETS["wsc"].examples(record, where, labels)
    target = record.get("target", record)
    yield {"text": example.text, "pronoun": formats.value(target, "span2_text", str, where), "noun": example.text2,
           "gold": example.label}  # fmt: skip


def _wsc(record):
    noun = record["noun"].lower()
    return Item("Passage: {text}\nQuestion: In the passage above, what does the pronoun \"*{pronoun}*\" refer to?\n"
                "Answer:".format(**record), (f" {noun}",), record["gold"], answers=(noun,))  # fmt: skip


def _read_wsc(source):
    splits = _WSC_READ(source)
    return splits | {"train": [record for record in splits["train"] if record["gold"]]}


def _row(name, examples=None):
    row = labelled(superglue.SETS[name])
    return row._replace(examples=examples) if examples else row


_WSC_READ = published.of_row("wsc", _row("wsc", _wsc_records))
_WSC_DESCRIPTION = (
    "Final Exam with Answer Key\nInstructions: Please carefully read the following passages. For each passage, you "
    "must identify which noun the pronoun marked in *bold* refers to.\n=====\n"
)


def _task(name, row, item, metrics=("accuracy",)):
    return Task(published.of_row(name, row), {"gpt3": Protocol("choices", item, metrics)}, row.homepage)


TASKS = {
    "boolq": _task("boolq", _row("boolq"), _boolq),
    "cb": _task("cb", _row("cb"), _cb, ("accuracy", "macro_f1")),
    "rte": _task("rte", labelled(glue.SETS["rte"]), _rte),
    "wic": _task("wic", _row("wic", _wic_records), _wic),
    "wsc": Task(_read_wsc, {"gpt3": Protocol("generate", _wsc, ("referent",), separator="\n=====\n",
                                             description=_WSC_DESCRIPTION, max_tokens=16, beams=4, length_penalty=0.6)},
                superglue.SETS["wsc"].homepage),
}  # fmt: skip
