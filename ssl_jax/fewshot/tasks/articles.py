"""Tasks of the demo corpus, from its held-out articles; examples are drawn from those that a run is trained on.

An article is told by its first sentence: whole ones leave no room for examples in a small model's context. The
wording is ours.
"""

import numpy as np

from ssl_jax.data import tasks, tokens
from ssl_jax.fewshot.items import Item, Protocol, Task

CHOICES = 4
SEED = 0


def _read(source):
    """Articles, dict with `text`, the first sentence, `title`, `topic`, a name, and `topics`, all names."""
    topics, splits = tasks.read_articles(source.root, source.heldout, source.max_documents)
    splits = {
        split: [
            {"text": tokens.split_sentences(one["text"])[0], "title": one["title"], "topic": topics[one["topic"]],
             "topics": topics}
            for one in found
        ]
        for split, found in splits.items()
    }  # fmt: skip
    return {"train": splits["train"], "test": splits["heldout"]}


def _read_with_others(source):
    """As `_read`, and `choices`: the article itself and three others of its split, in random order."""
    splits = _read(source)
    for articles in splits.values():
        for number, article in enumerate(articles):
            article["choices"], article["gold"] = _choices(articles, number)
    return splits


def _choices(articles, number):
    """Four (title, text) with that of article `number`, and its place; fewer where there are fewer titles."""
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


TASKS = {
    "topic": Task(_read, {
        "sum": Protocol("choices", _topic, ("accuracy",)),
        "unconditional": Protocol("choices", _topic, ("accuracy",), normalise="unconditional", answer_context="Topic:"),
    }),
    "title": Task(_read_with_others, {
        "title": Protocol("choices", _title, ("accuracy",), normalise="tokens"),
        "text": Protocol("choices", _text, ("accuracy",), normalise="tokens"),
    }),
}  # fmt: skip
