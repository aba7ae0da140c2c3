"""GPT-3's arithmetic and word tasks (sections 3.9.1 and 3.9.2), generated here, or read from openai/gpt-3's files.

Prompts are those of its appendix G; all answers are compared whole. In 1DC the paper's text has the last two numbers in
parentheses, its appendix and the files the first two, as here.

A folder may hold the released file of the task, JSON lines of `context` and `completion` (two_digit_addition.jsonl,
..., unpacked), which are then asked as they are; for the word tasks also words.txt, any text, in place of the demo
corpus. Instances and words are the same each time they are read.
"""

import collections
import functools
import pathlib
import re
import string

import numpy as np

from ssl_jax import files
from ssl_jax.errors import UserError
from ssl_jax.tasks import formats
from ssl_jax.tasks.base import Prompt, QuestionView, Task, answered, write

INSTANCES, WORDS, SEED = 2_000, 10_000, 0
HOMEPAGE = "https://github.com/openai/gpt-3/tree/master/data"
# Words of 5 to 14 letters.
WORD = re.compile(r"\b[a-z]{5,14}\b")
SYMBOLS = string.punctuation + " "

# name -> (released file, digits, sign and word). Numbers are drawn from 0 to 10 ** digits - 1.
SIGNS = {"+": "plus", "-": "minus", "*": "times"}
ARITHMETIC = {
    "2D+": ("two_digit_addition", 2, "+"), "2D-": ("two_digit_subtraction", 2, "-"),
    "3D+": ("three_digit_addition", 3, "+"), "3D-": ("three_digit_subtraction", 3, "-"),
    "4D+": ("four_digit_addition", 4, "+"), "4D-": ("four_digit_subtraction", 4, "-"),
    "5D+": ("five_digit_addition", 5, "+"), "5D-": ("five_digit_subtraction", 5, "-"),
    "2Dx": ("two_digit_multiplication", 2, "*"), "1DC": ("single_digit_three_ops", 1, ""),
}  # fmt: skip


def compute(a, sign, b):
    """a + b, a - b or a * b."""
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def question(rng, digits, sign):
    """A random question and its answer, (str, int); three numbers and any two signs where `sign` is ''."""
    a, b, c = (int(number) for number in rng.integers(10**digits, size=3))
    if sign:
        return f"{a} {SIGNS[sign]} {b}", compute(a, sign, b)
    first, second = rng.choice(list(SIGNS), size=2)
    return f"({a} {first} {b}) {second} {c}", compute(compute(a, first, b), second, c)


def _read_arithmetic(source, file, digits, sign):
    if source.folder:
        return _released(source.folder, file)
    rng, records = np.random.default_rng(SEED), {}
    while len(records) < 2 * INSTANCES:
        asked, answer = question(rng, digits, sign)
        records[asked] = {"context": f"Q: What is {asked}?\n\nA:", "completion": str(answer)}
    records = list(records.values())
    return {"train": records[INSTANCES:], "heldout": records[:INSTANCES]}


def _released(folder, file):
    """Examples are drawn from the same file."""
    path = pathlib.Path(folder) / f"{file}.jsonl"
    if not path.is_file():
        raise UserError(f"there is no {path}; get the files from {HOMEPAGE}, or leave the folder out")
    records = [{key: formats.value(record, key, str, where).strip() for key in ("context", "completion")}
               for where, record in files.json_lines(path)]  # fmt: skip
    return {"train": records, "heldout": records}


def cycle(rng, word):
    """The letters rotated by a random number of places, at least one."""
    start = int(rng.integers(1, len(word)))
    return word[start:] + word[:start]


def anagram(rng, word, kept):
    """All but the first and the last `kept` letters in random order."""
    return word[:kept] + "".join(rng.permutation(list(word[kept:-kept]))) + word[-kept:]


def insert(rng, word):
    """A random punctuation mark or space between every two letters."""
    return "".join(letter + SYMBOLS[rng.integers(len(SYMBOLS))] for letter in word[:-1]) + word[-1]


def turn(rng, word):
    """The letters from the last to the first."""
    del rng
    return word[::-1]


SCRAMBLES = {
    "CL": ("cycle_letters_in_word", cycle),
    "A1": ("mid_word_1_anagrams", functools.partial(anagram, kept=1)),
    "A2": ("mid_word_2_anagrams", functools.partial(anagram, kept=2)),
    "RI": ("random_insertion_in_word", insert),
    "RW": ("reversed_words", turn),
}


def _read_scrambled(source, file, scramble):
    words = pathlib.Path(source.folder) / "words.txt"
    if source.folder and not words.is_file():
        return _released(source.folder, file)
    text = files.read_text(words) if source.folder else _demo_text(source.root)
    rng, records = np.random.default_rng(SEED), []
    for word in frequent_words(text):
        scrambled = scramble(rng, word)
        # 'A2' leaves words of five letters as they are, which is no question.
        if scrambled != word:
            records.append({"context": f"{scrambled} =", "completion": word})
    return {"train": records, "heldout": records}


def _demo_text(root):
    from ssl_jax.data import corpora  # here, because it loads TFDS: configs are checked without it

    corpus = corpora.open_corpus("demo", root)
    return "\n".join(document["text"] for document in corpus)


def frequent_words(text):
    """The WORDS most frequent words of 5 to 14 letters, the most frequent first; GPT-3 had other texts' words."""
    counts = collections.Counter(WORD.findall(text.lower()))
    return [word for word, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:WORDS]]


_GENERATE = Prompt("generate", write("{context}", "completion"), ("match",), max_tokens=16)
_WORDS = _GENERATE._replace(
    separator="\n", description="Please unscramble the letters into a word, and write that word:\n"
)

_ASKED = QuestionView(answered("What is the answer?", "{context}", "completion"), "em")
TASKS = {
    name: Task(
        functools.partial(_read_arithmetic, file=file, digits=digits, sign=sign), prompts={"gpt3": _GENERATE}, shots=50,
        question=_ASKED,
    ) for name, (file, digits, sign) in ARITHMETIC.items()
} | {
    name: Task(functools.partial(_read_scrambled, file=file, scramble=scramble), prompts={"gpt3": _WORDS}, shots=100,
               question=_ASKED)
    for name, (file, scramble) in SCRAMBLES.items()
}  # fmt: skip
