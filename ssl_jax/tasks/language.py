"""Language modelling: LAMBADA, the Children's Book Test, and texts by perplexity (GPT-2, Table 3; GPT-3, section 3.1).

LAMBADA's prompts differ by what counts (a word is several tokens, the last of which is the easiest):

    gpt2_last_token   the last token of the text, after a line break and with straight quotation marks, as OpenAI
                      prepared it; Table 3's perplexity and accuracy
    gpt2_stop_words   the word that beam search finds, function words passed over (section 3.3); OpenAI's list is not
                      published, STOP_WORDS is ours
    last_word         all tokens of the last word; lm-evaluation-harness's, and GPT-3's zero-shot
    gpt3              a blank to fill, GPT-3's one- and few-shot (section 3.1.2, figure G.21)

OpenAI's lambada_test.jsonl is text as people write it. The original's plain text is tokenized and in lower case; it is
de-tokenized.

Texts are scored as a whole, `gpt2` de-tokenized and `plain` as they are, for each word of the original. Of One Billion
Words the file is the first of the 50 held-out ones, which is what others report; TensorFlow Datasets has all 50 as one.
Their training sets, where they are in the folder, only tell how much of the text they share (GPT-2, Table 6).
"""

import functools
import os
import re

from ssl_jax import files
from ssl_jax.errors import UserError, shown
from ssl_jax.tasks import detokenizers, formats
from ssl_jax.tasks.base import Dataset, Item, Prompt, Task

STOP_WORDS = frozenset(
    "a about above after again against all am an and any are as at be because been before being below between both "
    "but by can could did do does doing down during each few for from further had has have having he her here hers "
    "herself him himself his how i if in into is it its itself just me more most my myself no nor not now of off on "
    "once only or other our ours ourselves out over own same she should so some such than that the their theirs them "
    "themselves then there these they this those through to too under until up very was we were what when where which "
    "while who whom why will with would you your yours yourself yourselves".split()
)


def _lambada_lines(path, split):
    """A passage a line; of OpenAI's .jsonl it is `text`."""
    del split
    if path.suffix == ".jsonl":
        return files.json_lines(path)
    return ((f"{path}, line {number}", {"passage": line}) for number, line in files.read_lines(path) if line.strip())


def _lambada(record, where):
    if isinstance(record, dict) and "passage" in record:
        text = detokenizers.LAMBADA.detokenise(record["passage"].strip())
    else:
        text = formats.value(record, "text", str, where).strip()
    if len(text.split()) < 2:
        raise UserError(f"{where}: {shown(text)} has no last word to predict")
    yield {"text": text}


def _last_word(record):
    context, word = record["text"].rsplit(maxsplit=1)
    return Item(context, (record["text"][len(context) :],), answers=(word,), units=1)


def _prepared(record):
    """As OpenAI's: after a line break, quotation marks straight."""
    item = _last_word({"text": record["text"].replace("“", '"').replace("”", '"')})
    return item._replace(context=f"\n{item.context}")


def _blank(record):
    item = _last_word(record)
    return item._replace(context=f"{item.context} ____. ->", targets=(f" {item.answers[0]}",))


def first_word(text):
    """The first word of a text, without the punctuation after it."""
    words = text.split()
    return re.sub(r"[^\w]+$", "", words[0]) if words else ""


_CLOZE = Prompt("cloze", _last_word, ("accuracy", "perplexity"))
LAMBADA = Task(
    Dataset({"train": "lambada_development_plain_text.txt",
             "heldout": ("lambada_test.jsonl", "lambada_test_plain_text.txt")}, _lambada_lines,
            {"train": "lambada:train", "heldout": "lambada:test"}, "https://zenodo.org/record/2630551"),
    record=_lambada,
    prompts={
        "gpt2_last_token": _CLOZE._replace(item=_prepared, last_token=True),
        "gpt2_stop_words": Prompt("generate", _prepared, ("match",), max_tokens=8, beams=8, stop=(),
                                  finish=first_word, stop_words=STOP_WORDS),
        "last_word": _CLOZE,
        "gpt3": _CLOZE._replace(item=_blank, description="Fill in blank:\n\n"),
    },
    shots=15,
)  # fmt: skip

SENTENCES = 20


def _cbt_lines(path, split):
    """Blocks of 20 numbered sentences and the 21st with XXXXX, its answer and candidates between tabs."""
    del split
    sentences = []
    for number, line in files.read_lines(path):
        if not line.strip():
            continue
        where, (place, _, rest) = f"{path}, line {number}", line.partition(" ")
        if place != str(len(sentences) + 1):
            raise UserError(f"{where}: sentence {shown(place)} where number {len(sentences) + 1} should be")
        if len(sentences) < SENTENCES:
            sentences.append(rest)
            continue
        cells = [cell for cell in rest.split("\t") if cell]
        if len(cells) != 3:
            raise UserError(f"{where}: {len(cells)} cells, and there should be a query, an answer and candidates")
        yield where, {"sentences": sentences, "query": cells[0], "answer": cells[1], "candidates": cells[2].split("|")}
        sentences = []
    if sentences:
        raise UserError(f"{path}: it ends within a block, after sentence {len(sentences)}")


def _cbt(record, where):
    if "XXXXX" not in record["query"]:
        raise UserError(f"{where}: the query has no XXXXX to fill")
    if record["answer"] not in record["candidates"]:
        raise UserError(f"{where}: the answer {shown(record['answer'])} is not among the candidates")
    yield record


def _candidates(record):
    """P(candidate and the rest of the sentence | what is before), de-tokenized (GPT-2, section 3.2)."""
    texts = [
        detokenizers.CBT.detokenise(" ".join([*record["sentences"], record["query"].replace("XXXXX", candidate)]))
        for candidate in record["candidates"]
    ]
    # What is joined to a candidate depends on it, so the texts part at the last blank before they differ.
    context = os.path.commonprefix(texts).rpartition(" ")[0]
    targets = tuple(text[len(context) :] for text in texts)
    return Item(context, targets, record["candidates"].index(record["answer"]))


def _cbt_task(kind):
    files = {"train": f"cbtest_{kind}_train.txt", "heldout": f"cbtest_{kind}_valid_2000ex.txt"}
    data = Dataset(files, _cbt_lines, {}, "https://research.facebook.com/downloads/babi/")
    return Task(data, record=_cbt, prompts={"gpt2": Prompt("choices", _candidates)})


def _whole(path, split):
    lines = (line for _, line in files.read_lines(path))
    yield str(path), {"text": lines if split == "training" else files.read_text(path)}


def _each_line(path, split):
    """Of a file, or of all in a folder."""
    del split
    for one in sorted(path.iterdir()) if path.is_dir() else [path]:
        yield from ((f"{one}, line {number}", {"text": line}) for number, line in files.read_lines(one) if line)


def _last_twentieth(path, split):
    """The last 5 of 100 million bytes, the test set of enwik8 and text8, from their first whole character on; the first 90
    are for training."""
    content = files.read_bytes(path)
    if split == "training":  # its last character may be cut
        yield str(path), {"text": content[: len(content) * 9 // 10].decode(errors="ignore")}
        return
    content = content[len(content) - len(content) // 20 :]
    start = next((place for place, byte in enumerate(content) if byte & 0xC0 != 0x80), len(content))
    try:
        yield str(path), {"text": content[start:].decode()}
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); unpack the published file again") from error


def _text(record, where):
    if not formats.value(record, "text", str, where).strip():
        raise UserError(f"{where}: it has no text")
    yield {"text": record["text"]}


def _words(record, detokenise):
    return Item("", (detokenise(record["text"]),), units=detokenizers.count_words(record["text"]))


def _plain(text):
    return text


def _characters(record):
    return Item("", (record["text"],), units=len(record["text"]))


def _bytes(record):
    return Item("", (record["text"],), units=len(record["text"].encode()))


def _text_task(name, training, read, prompts, homepage, tfds=()):
    data = Dataset({"heldout": name, "training": training}, read, dict(tfds), homepage)
    return Task(data, record=_text, prompts=prompts)


def _by_words(name, training, read, detokenizer, homepage, tfds=()):
    prompts = {
        name: Prompt("perplexity", functools.partial(_words, detokenise=detokenise), ("perplexity",), unit="word")
        for name, detokenise in (("gpt2", detokenizer.detokenise), ("plain", _plain))
    }
    return _text_task(name, training, read, prompts, homepage, tfds)


WIKITEXT = _by_words(
    "wiki.test.tokens", "wiki.train.tokens", _whole, detokenizers.WIKITEXT,
    "https://www.salesforce.com/blog/the-wikitext-long-term-dependency-language-modeling-dataset/",
)  # fmt: skip
_BITS = Prompt("perplexity", _bytes, ("bits",), unit="byte")
_TEXTS = "http://mattmahoney.net/dc/textdata"

TASKS = {
    "lambada": LAMBADA,
    "cbt_cn": _cbt_task("CN"),
    "cbt_ne": _cbt_task("NE"),
    "wikitext2": WIKITEXT,
    "wikitext103": WIKITEXT,  # with the same test set
    "ptb": _by_words("ptb.test.txt", "ptb.train.txt", _whole, detokenizers.PTB, "http://www.fit.vutbr.cz/~imikolov/rnnlm/"),
    "1bw": _by_words("news.en.heldout-00000-of-00050", "training-monolingual.tokenized.shuffled", _each_line,
                     detokenizers.ONE_BILLION_WORDS, "https://www.statmt.org/lm-benchmark/",
                     {"heldout": "lm1b:test", "training": "lm1b:train"}),
    "enwik8": _text_task("enwik8", "enwik8", _last_twentieth, {"gpt2": _BITS}, _TEXTS),
    "text8": _text_task("text8", "text8", _last_twentieth, {"gpt2": _BITS._replace(item=_characters, unit="character")}, _TEXTS),
}  # fmt: skip
