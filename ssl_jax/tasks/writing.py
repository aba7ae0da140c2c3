"""Translation and summaries.

    gpt2             'SENTENCE = TRANSLATION' in lines, greedy, the first sentence counts (section 3.7); articles with
                     'TL;DR:', 100 tokens of the 2 likeliest, the first 3 sentences (section 3.6)
    gpt2_no_hint     summaries without 'TL;DR:' (Table 4, whose Lede-3 and Random-3 are `baselines` of the other)
    gpt3             the same lines, by beam search (appendix G); GPT-3's format of one- and few-shot
    gpt3_zero_shot   'Q: What is the French translation of SENTENCE A:' (figure G.36)

A folder has two parallel files of a split, train.en and train.fr, test.en and test.fr. Of TensorFlow Datasets' training
splits, up to 40 million pairs, the first 10,000 are what examples are drawn from.
"""

import functools

from ssl_jax import files
from ssl_jax.data import tokens
from ssl_jax.errors import UserError
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import Dataset, Prompt, QuestionView, Task, answered, write

# From or to English -> the language, and TensorFlow Datasets' name of the set whose test split GPT-3 reports.
LANGUAGES = {"fr": ("French", "wmt14_translate/fr-en"), "de": ("German", "wmt16_translate/de-en"),
             "ro": ("Romanian", "wmt16_translate/ro-en")}  # fmt: skip


def first_sentences(text, count):
    """The first sentences of a text, each on its own line (GPT-2, section 3.6, takes the first 3)."""
    return "\n".join(tokens.split_sentences(text)[:count])


HINT = "\nTL;DR:"


def _lede(item, rng):
    """The article's first three sentences (Lede-3)."""
    del rng
    return first_sentences(item.context.removesuffix(HINT), 3)


def _random(item, rng):
    """Three of its sentences at random, in its order (Random-3)."""
    sentences = tokens.split_sentences(item.context.removesuffix(HINT))
    return "\n".join(sentences[n] for n in sorted(rng.permutation(len(sentences))[:3]))


def _parallel_lines(path, split, source, target):
    """`path` is the source's file; the target's has its own ending."""
    del split
    other = path.with_suffix(f".{target}")
    if not other.is_file():
        raise UserError(f"there is no file {other} with the translations of {path}")
    sources, targets = ([line for _, line in files.read_lines(one)] for one in (path, other))
    if len(sources) != len(targets):
        last = min(len(sources), len(targets))
        raise UserError(f"{path}, line {last + 1}: {len(sources)} lines, and {other} has {len(targets)}")
    for number, lines in enumerate(zip(sources, targets, strict=True), 1):
        yield f"{path}, line {number}", dict(zip((source, target), lines, strict=True))


def _translation(record, where, source, target):
    texts = [formats.value(record, key, str, where).strip() for key in (source, target)]
    if not all(texts):
        raise UserError(f"{where}: a sentence or its translation is empty")
    yield dict(zip(("source", "target"), texts, strict=True))


def _translation_task(source, target):
    other = target if source == "en" else source
    language, name = LANGUAGES[other]
    both = {"source": source, "target": target}
    data = Dataset(
        {"train": f"train.{source}", "heldout": f"test.{source}"}, functools.partial(_parallel_lines, **both),
        {"train": f"{name}:train[:10000]", "heldout": f"{name}:test"}, "https://www.statmt.org/",
    )  # fmt: skip
    greedy = Prompt("generate", write("{source} =", "target"), ("bleu",), separator="\n", max_tokens=128,
                    finish=functools.partial(first_sentences, count=1))  # fmt: skip
    beams = greedy._replace(finish=str.strip, beams=4, length_penalty=0.6)
    asked = write(f"Q: What is the {language if source == 'en' else 'English'} translation of {{source}} A:", "target")
    names = ("English", language) if source == "en" else (language, "English")
    question = answered("Translate from {} to {}".format(*names), "{source}", "target")
    return Task(data, record=functools.partial(_translation, **both),
                prompts={"gpt2": greedy, "gpt3": beams, "gpt3_zero_shot": beams._replace(item=asked)}, shots=64,
                question=QuestionView(question, "bleu"))  # fmt: skip


def _story_lines(path, split):
    """Of a folder of .story files: paragraphs, then each highlight after a line '@highlight'."""
    del split
    for where, one in formats.below(path, ".story"):
        if isinstance(one, formats.LeftOut):
            yield where, one
            continue
        article, *highlights = files.read_text(one).split("@highlight")
        yield where, {"article": " ".join(article.split()),
                      "highlights": "\n".join(" ".join(part.split()) for part in highlights)}  # fmt: skip


def _summary(record, where):
    texts = formats.checked(record, where, article=str, highlights=str)
    for key, text in texts.items():
        if not text.strip():
            raise UserError(f"{where}: no {key}")
    yield texts


def _summary_prompt(hint, **more):
    return Prompt("generate", write(f"{{article}}{hint}", "highlights"), ("rouge",), max_tokens=100, top_k=2, stop=(),
                  finish=functools.partial(first_sentences, count=3), **more)  # fmt: skip


# decaNLP's summaries are `cnn_dm`, in decanlp.py.
TASKS = {
    f"{source}_{target}": _translation_task(source, target)
    for other in LANGUAGES
    for source, target in (("en", other), (other, "en"))
} | {
    "cnn_dailymail": Task(
        Dataset({"heldout": "test"}, _story_lines, {"heldout": "cnn_dailymail:test"},
                "https://github.com/abisee/cnn-dailymail"),
        record=_summary, prompts={"gpt2": _summary_prompt(HINT, baselines={"lede3": _lede, "random3": _random}),
                                  "gpt2_no_hint": _summary_prompt("")}),
}  # fmt: skip
