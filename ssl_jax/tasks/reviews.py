"""IMDB's reviews (Maas et al. 2011) and AG's news (Zhang et al. 2015).

Neither has a dev set: the test set is the split 'heldout'.
"""

from ssl_jax import files
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import Dataset, Example, QuestionView, Task, one_of

TOPICS = ("World", "Sports", "Business", "Sci/Tech")


def _imdb_lines(path, split):
    """A file per review, in the folders `neg` and `pos`, neither of which may be empty."""
    del split
    for label in ("neg", "pos"):
        for where, one in formats.below(path / label, ".txt"):
            yield where, one if isinstance(one, formats.LeftOut) else {"text": files.read_text(one), "label": label}


def _review(record, where, labels):
    yield Example(record["text"].strip(), None, formats.number_of(record["label"], labels, where))


def _news_lines(path, split):
    """Rows of class, from 1, title and description."""
    del split
    for where, record in formats.csv_file(path, ("class", "title", "description")):
        number = formats.number_of(record["class"], ("1", "2", "3", "4"), where)
        yield where, record | {"label": TOPICS[number]}


def _news(record, where, labels):
    """The title and the description; backslashes are the line breaks of its source."""
    text = f"{record['title']} {record['description']}".replace("\\", " ")
    yield Example(text, None, formats.number_of(record["label"], labels, where))


TASKS = {
    "imdb": Task(
        Dataset({"train": "train", "heldout": "test"}, _imdb_lines,
                {"train": "imdb_reviews:train", "heldout": "imdb_reviews:test"},
                "https://ai.stanford.edu/~amaas/data/sentiment/"),
        "classification", ("neg", "pos"), _review,
        # decaNLP's question (generic.py: IMDb).
        question=QuestionView(one_of("Is this review {labels}?", names=("negative", "positive")), "em", cut=True)),
    "ag_news": Task(
        Dataset({"train": "train.csv", "heldout": "test.csv"}, _news_lines,
                {"train": "ag_news_subset:train", "heldout": "ag_news_subset:test"},
                "http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html"),
        "classification", TOPICS, _news,
        question=QuestionView(one_of("Is the topic {labels}?"), "em")),
}  # fmt: skip
