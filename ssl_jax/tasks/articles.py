"""Tasks on the demo corpus. What is held out is what pre-training with the same data.heldout and data.max_documents
holds out, so that no pre-trained model has seen it.

    topics        to fine-tune on: the topic of an article
    topic         to ask: the topic of an article
    title         to ask: which title, or which text, is an article's, among four
    titles        as a question: an article's title, which is in its first sentence
    descriptions  as a question: what an article is about, as Wikipedia's short description says it

An article that is asked about is its first sentence: whole ones leave no room for examples in a small model's context.
The wording is ours. Solved examples are articles that a run is trained on.
"""

import functools
import itertools
import re

import numpy as np

from ssl_jax.data import tokens
from ssl_jax.tasks.base import QA, Example, Item, Prompt, QuestionView, Read, Task, one_of
from ssl_jax.tasks.formats import LeftOut

CHOICES = 4
SEED = 0
LONGEST = 8  # words of a description


def read_articles(source):
    """The articles of the demo corpus by split, as pre-training splits them; nobody changes them.

    Returns:
      The names of the topics, and 'train' and 'heldout' -> list of dict with `text`, `title`, `description` and
      `topic`, the number of a name; without empty articles, and each text once.
    """
    return _read_articles(source.root, source.max_documents, source.heldout)


@functools.lru_cache(maxsize=4)  # two seconds; a run reads them twice, a plan for each row, at two or three sizes
def _read_articles(root, max_documents, heldout):
    from ssl_jax.data import corpora  # here, because it loads TFDS: configs are checked without it

    corpus = corpora.open_corpus("demo", root)
    documents = list(itertools.islice(corpus, max_documents or None))
    hashes = np.stack([tokens.content_hash(document["text"]) for document in documents])
    duplicate, held_out = tokens.find_duplicates(hashes), tokens.is_heldout(hashes, heldout)
    splits = {split: [] for split in tokens.SPLITS}
    for document, again, held in zip(documents, duplicate, held_out, strict=True):
        if document["text"].strip() and not again:
            splits["heldout" if held else "train"].append(document)
    return tuple(corpus.features["topic"].names), splits


def _read(source):
    topics, splits = read_articles(source)
    return Read(topics, {split: [Example(one["text"], None, one["topic"]) for one in articles]
                         for split, articles in splits.items()}, {}, {})  # fmt: skip


def _asked(source):
    """Articles, dict with `text`, the first sentence, `title`, `description`, `topic`, a name, and `topics`, all names."""
    topics, splits = read_articles(source)
    return {
        split: [
            {"text": tokens.split_sentences(one["text"])[0], "title": one["title"], "description": one["description"],
             "topic": topics[one["topic"]], "topics": topics}
            for one in articles
        ]
        for split, articles in splits.items()
    }  # fmt: skip


def _asked_with_others(source):
    """As `_asked`, and `choices`: the article itself and three others of its split, in random order."""
    splits = _asked(source)
    for articles in splits.values():
        for number, article in enumerate(articles):
            article["choices"], article["gold"] = _choices(articles, number)
    return splits


def _choices(articles, number):
    """Four (title, text), among them article `number`, and its place; fewer where there are fewer titles."""
    rng = np.random.default_rng([SEED, number])
    # A title or a sentence that occurs twice would be right and wrong at once.
    own = articles[number]
    chosen = [number]
    for other in rng.permutation(len(articles)):
        if all(articles[other][key] != articles[one][key] for one in chosen for key in ("title", "text")):
            chosen.append(int(other))
        if len(chosen) == CHOICES:
            break
    chosen = rng.permutation(chosen)
    choices = tuple((articles[one]["title"], articles[one]["text"]) for one in chosen)
    return choices, choices.index((own["title"], own["text"]))


def _topic(record):
    targets = tuple(f" {name}" for name in record["topics"])
    return Item(f"{record['text']}\nTopic:", targets, record["topics"].index(record["topic"]))


def _title(record):
    return Item(f"{record['text']}\nTitle:", tuple(f" {title}" for title, _ in record["choices"]), record["gold"])


def _text(record):
    return Item(f"Title: {record['title']}\nText:", tuple(f" {text}" for _, text in record["choices"]), record["gold"])


# ---- Questions
def _titled(article, labels):
    """The title as the sentence has it."""
    del labels
    title = re.escape(_without_brackets(article["title"]))
    found = re.search(rf"(?<!\w){title}(?!\w)", article["text"], re.IGNORECASE)
    if not found:
        return LeftOut("articles whose title is not in their first sentence")
    return QA("What is this about?", article["text"], (found[0],))


def _described(article, labels):
    del labels
    description = _without_brackets(article["description"])
    if not 0 < len(description.split()) <= LONGEST:
        return LeftOut(f"articles without a description of at most {LONGEST} words")
    return QA("What is the short description?", article["text"], (description,))


def _without_brackets(text):
    """'Mercury' of 'Mercury (planet)': what Wikipedia adds at the end, in descriptions years, is not in the sentence."""
    return re.sub(r" ?\([^()]*\)$", "", text).strip()


TASKS = {
    "topics": Task(_read, "classification", also=("macro_f1",),
                   question=QuestionView(one_of("Is the topic {labels}?"), "em", cut=True)),
    "topic": Task(_asked, prompts={
        "sum": Prompt("choices", _topic),
        "unconditional": Prompt("choices", _topic, normalise="unconditional", answer_context="Topic:"),
    }),
    "title": Task(_asked_with_others, prompts={
        "title": Prompt("choices", _title, normalise="tokens"),
        "text": Prompt("choices", _text, normalise="tokens"),
    }),
    "titles": Task(_asked, question=QuestionView(_titled, "nf1", ("em",))),
    "descriptions": Task(_asked, question=QuestionView(_described, "rouge", ("em",))),
}  # fmt: skip
