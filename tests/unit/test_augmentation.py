"""Augmented examples are those of a plain loop over copies and words, and the masked model's are its own."""

import functools
import json
import string
import subprocess
import sys
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers.models import Unigram

from configs import tinybert
from ssl_jax import predict, runs, tasks
from ssl_jax.checkpoints import Checkpoints
from ssl_jax.errors import UserError
from ssl_jax.models.model import build_model
from ssl_jax.step import initial_params, initial_state
from ssl_jax.tasks import augmentation
from ssl_jax.tasks.augmentation import MaskedModel, WordVectors, augment, join_words, read_vectors, split_words
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.tokenization.train import KINDS, train_tokenizer
from ssl_jax.tokenization.vocabulary import vocabulary_of

pytestmark = pytest.mark.slow  # compiles programs, or trains

TEXTS = [
    "the river flows into the sea and the city grew",
    "she was a painter and the city was old",
    "a painter saw the river , the sea ! and the old city .",
] * 20
VECTORS = {"grin": [1, 0, 0], "grey": [1, 1, 0], "old": [5, 4, 0], "river": [-1, 0, 0], "dire": [0, 0, 2]}
VECTORS |= {"zero": [0, 0, 0]}  # no direction


class Example(NamedTuple):
    text: str
    text2: str | None
    label: int


# 'grin' and 'dire' are of several pieces and have vectors, 'sane' has none.
EXAMPLES = [
    Example("the city grew grin and old", None, 1),
    Example("she saw the grin river", "a painter was sane and the sea dire", 0),
    Example("old ! old , old", "the city and the river and the sea and the painter saw a city", 2),
]


@functools.cache
def tokenizer(kind):
    if kind == "wordpiece":
        return train_tokenizer(kind, TEXTS, 74, True)
    # By hand: SentencePiece learns no words from so little text.
    made = KINDS["unigram"](True)
    specials, words = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], sorted({*" ".join(TEXTS).split()} - {*",.!"})
    pieces = [("\u2581", -5.0), *((f"\u2581{word}", -2.0) for word in words)]
    pieces += [(character, -9.0) for character in f"{string.ascii_lowercase},.!'():"]
    made.model = Unigram([*((name, 0.0) for name in specials), *pieces], unk_id=1)
    made.add_special_tokens(specials)
    made.encode_special_tokens = True
    return made


def score(tokens, mask, segments, positions):
    """A number for each token, of all that a model sees; whole numbers, so that no order of summing matters."""
    columns = jnp.arange(1, tokens.shape[1] + 1)
    seen = ((tokens * columns * columns % 1009 + 17 * segments * columns) * mask).sum(1) % 1009 + positions[:, 0]
    return seen


class Stub:
    """A masked language model whose predictions depend on every token, segment and the position."""

    heads = ("mlm",)
    config = SimpleNamespace(type_vocab_size=2)

    def __init__(self, size):
        self.size = size

    def apply(self, variables, batch):
        seen = score(**batch)[:, None] + variables["params"]
        tokens = jnp.arange(self.size)
        return {"mlm_logits": ((seen * (2 * tokens + 3) + tokens * tokens * 7) % 1013)[:, None].astype(jnp.float32)}


@functools.cache
def stub_run(kind="wordpiece", longest=64):
    vocabulary = vocabulary_of(tokenizer(kind))
    config = SimpleNamespace(phases=SimpleNamespace(lengths=(8, longest)))
    return SimpleNamespace(
        config=config, model=Stub(vocabulary.size), params=np.int32(5), tokenizer=tokenizer(kind), vocabulary=vocabulary
    )


def vectors():
    return WordVectors(list(VECTORS), list(VECTORS.values()))


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(augmentation, "TOKENS", 256)


def predictions(run, sentence, place, count, variant):
    """The candidates for word `place` of a sentence (lists of ids), by the definition of each variant."""
    vocabulary, longest = run.vocabulary, max(run.config.phases.lengths)
    masked = [token for number, ids in enumerate(sentence) for token in ([vocabulary.mask] if number == place else ids)]
    where, room = masked.index(vocabulary.mask), longest - 2
    if len(masked) > room:
        first = min(max(where - room // 2, 0), len(masked) - room)
        masked = masked[first : first + room]
    ids = [vocabulary.start, *masked, vocabulary.separator]
    segments = [0] * len(ids)
    if variant == "release":
        second = [*sum(sentence, []), vocabulary.separator]
        ids, segments = (ids + second)[:longest], (segments + [1] * len(second))[:longest]
    batch = dict(tokens=ids, mask=[1] * len(ids), segments=segments, positions=[ids.index(vocabulary.mask)])
    batch = {name: np.array([values], np.int32) for name, values in batch.items()}
    logits = np.asarray(run.model.apply({"params": run.params}, batch)["mlm_logits"])[0, 0]
    names = [run.tokenizer.id_to_token(token) for token in range(vocabulary.size)]
    if "\u2581" in names:
        whole = [name.startswith("\u2581") and len(name) > 1 for name in names]
    else:
        whole = [not name.startswith(("##", "[")) for name in names]
    order = np.argsort(-logits, kind="stable").tolist()
    if variant == "paper":
        best = [token for token in order if whole[token]][:count]
    else:
        best = [token for token in order[:count] if whole[token]]
    return [(names[token].lstrip("\u2581"), [token]) for token in best]


def plain_neighbours(word, count):
    if not any(VECTORS.get(word, [0])):
        return []
    unit = {other: np.array(x) / np.linalg.norm(x) for other, x in VECTORS.items() if any(x)}
    return sorted((other for other in unit if other != word), key=lambda other: -unit[other] @ unit[word])[:count]


def plain_augment(examples, run, copies, threshold, candidates, seed, variant):
    """Algorithm 1, or the release, in a loop; texts have spaces around words and marks."""

    def encode(word):
        return run.tokenizer.encode(word, add_special_tokens=False).ids

    stop = {"the", "and", "she", "was", "a", "into"}
    made = []
    for number, example in enumerate(examples):
        made.append(example)
        seen = {example[:2]}
        sentences = [text.split() for text in example[:2] if text is not None]
        chances, draws = np.random.default_rng([seed, number]).random((2, copies, sum(map(len, sentences))))
        for chance, draw in zip(chances.tolist(), draws.tolist()):
            texts = []
            for words in sentences:
                original, pieces = list(words), [encode(word) for word in words]
                new, new_pieces = list(words), list(pieces)
                for place, word in enumerate(original):
                    p, u = chance.pop(0), draw.pop(0)
                    if p >= threshold or variant == "release" and (word in stop or not word.isalpha()):
                        continue
                    if len(pieces[place]) == 1:
                        context = new_pieces if variant == "paper" else pieces
                        found = predictions(run, context, place, candidates, variant)
                    else:
                        found = [(other, encode(other)) for other in plain_neighbours(word, candidates)]
                    if found:
                        new[place], new_pieces[place] = found[int(u * len(found))]
                texts.append(" ".join(new))
            texts = (*texts, None)[:2]
            if texts not in seen:
                seen.add(texts)
                made.append(example._replace(text=texts[0], text2=texts[1]))
    return made


@pytest.mark.parametrize(
    "variant, kind, longest",
    [
        ("paper", "wordpiece", 64),
        ("paper", "wordpiece", 9),
        ("paper", "unigram", 64),
        ("release", "wordpiece", 64),
        ("release", "wordpiece", 12),
        ("release", "unigram", 64),
    ],
)
def test_copies_are_those_of_the_plain_loop(variant, kind, longest):
    run = stub_run(kind, longest)
    options = dict(copies=7, threshold=0.6, candidates=6, seed=3, variant=variant)
    made, counts = augment(EXAMPLES, run, vectors(), **options)
    made = list(made)
    assert made == plain_augment(EXAMPLES, run, **options)
    assert len({one.text for one in made}) > 12 and len({one.text2 for one in made}) > 8
    assert (counts.windows > 0) == (longest < 64)


def test_the_sentences_of_a_pair_are_each_augmented_from_their_own_original():
    first, second = "she saw the old river and the old sea", "a painter was into the sea and the city grew old"
    pair, other = Example(first, second, 0), Example("the sea saw a city and the river flows", second, 0)
    for variant in augmentation.VARIANTS:
        made, again = (list(augment([one], stub_run(), None, variant=variant)[0]) for one in (pair, other))
        assert len(made) == len(again) == 21
        assert [one.text2 for one in made] == [one.text2 for one in again]
        assert [one.text for one in made] != [one.text for one in again]
        # No copy starts from another, or fewer and fewer words would be the original's.
        kept = np.mean([a == b for one in made[1:] for a, b in zip(one.text2.split(), pair.text2.split())])
        assert kept > 0.55 and len({one.text for one in made}) > 15


def test_the_original_comes_first_and_nothing_twice():
    example = Example("The  Old City", None, 1)
    made, counts = augment([example], stub_run(), None, threshold=0)
    assert list(made) == [example]
    assert (counts.examples, counts.examples_out, counts.duplicates, counts.replaced) == (1, 1, 20, 0)

    made, counts = augment([example], stub_run(), None, candidates=1, copies=30)
    made = list(made)
    assert len({one.text for one in made}) == len(made) < 31 and counts.duplicates == 31 - len(made)
    assert made[0] == example and {one.label for one in made} == {1}
    assert list(augment([Example("", None, 0)], stub_run())[0]) == [Example("", None, 0)]


def test_copies_of_scored_pairs_take_the_place_of_those_trained_on(tmp_path):
    """TinyBERT's first task step on STS-B: what is written is read again, each copy with its original's score."""
    pairs = [("the old city", "the old sea", 2.75), ("she saw the river", "a painter saw the sea", 0.0)]
    lines = ["sentence1\tsentence2\tscore", *("\t".join(map(str, pair)) for pair in pairs)]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines))
    path = tmp_path / "more.jsonl"
    config = tinybert.get_config("4-312,intermediate,stsb")
    config.task.folder = str(tmp_path)
    task = tasks.read(config)
    made = list(augment(task.splits["train"], stub_run(), None, copies=5)[0])
    tasks.write_examples(path, made, task.labels)
    config.task.augmented = str(path)
    read = tasks.read(config).splits
    assert read == {"train": made, "heldout": task.splits["train"]}
    second = made.index(tasks.Example(*pairs[1]))
    assert [one.label for one in made] == [2.75] * second + [0.0] * (len(made) - second) and 1 < second < len(made) - 1
    path.write_text(json.dumps({"text": "a", "text2": "b", "label": "2.75"}))
    with pytest.raises(UserError, match="more.jsonl, line 1: 'label' is '2.75', and should be of type float"):
        tasks.read(config)


def test_words_are_counted():
    made, counts = augment(EXAMPLES, stub_run(), vectors(), copies=2, threshold=1, variant="release")
    made = list(made)
    words = [word for example in EXAMPLES for text in example[:2] if text for word in text.split()]
    exempt = sum(word in ("the", "and", "she", "was", "a", ",", "!") for word in words)
    assert (counts.words, counts.exempt, counts.copied) == (len(words), exempt, 2 * len(words))
    assert (counts.several_pieces, counts.without_vector) == (4, 1)
    assert counts.single_piece == len(words) - exempt - 4
    assert counts.replaced == 2 * (len(words) - exempt - 1)
    assert any(line.startswith("examples out       9") for line in counts.lines()) == (len(made) == 9)


def test_copies_are_of_seed_and_example_alone(monkeypatch):
    def made(examples=EXAMPLES, **options):
        return list(augment(examples, stub_run(), vectors(), **options)[0])

    usual = made()
    assert usual == made(seed=0) != made(seed=1)
    last = [one for one in usual if one.label == 2]
    assert [one for one in made([EXAMPLES[1], EXAMPLES[0], EXAMPLES[2]]) if one.label == 2] == last
    assert [one for one in made(EXAMPLES[::-1]) if one.label == 2] != last
    monkeypatch.setattr(augmentation, "BLOCK", 2)
    monkeypatch.setattr(augmentation, "TOKENS", 96)
    assert made() == usual


def test_examples_are_read_and_given_block_by_block(monkeypatch):
    monkeypatch.setattr(augmentation, "BLOCK", 2)
    taken = []
    made, _ = augment((taken.append(one) or one for one in EXAMPLES), stub_run(), None)
    assert not taken
    next(made)
    assert len(taken) == 2


def test_words_are_split_and_joined_with_the_spaces_of_the_text():
    for kind in ("wordpiece", "unigram"):
        sentence = split_words(stub_run(kind), " The (old)  city, wasn't: ☃ ½grin!")
        half = ["½grin"] if kind == "wordpiece" else ["1⁄2grin"]
        assert sentence.words == ["the", "(", "old", ")", "city", ",", "wasn", "'", "t", ":", "☃", *half, "!"]
        assert join_words(sentence, sentence.words) == f"the (old) city, wasn't: ☃ {''.join(half)}!"
        # A Unigram's word without a space before it is another one.
        assert [len(sentence.pieces[place]) for place in (0, 2, 4)] == [1, 1 if kind == "wordpiece" else 3, 1]
        assert len(sentence.pieces[6]) > 1
        ids = stub_run(kind).tokenizer.encode("the (old) city, wasn't: ☃ ½grin!", add_special_tokens=False).ids
        assert sum(sentence.pieces, []) == ids
        words = list(sentence.words)
        words[3], words[5], words[7] = "and", "!", "sea"
        assert join_words(sentence, words) == f"the (old and city! wasn sea t: ☃ {''.join(half)}!"


def random_run(config, kind="wordpiece"):
    """A run of random parameters, large enough that contexts matter."""
    config.model.vocab_size = tokenizer(kind).get_vocab_size()
    model, random = build_model(config), np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: initial_params(model, config.seed))

    def draw(path, x):
        return np.float32(1.0 * (path[-1].key == "scale") + random.normal(0, 0.3, x.shape) * (x.ndim > 1))

    params = jax.tree_util.tree_map_with_path(draw, shapes)
    return runs.Run(None, config, model, params, tokenizer(kind), vocabulary_of(tokenizer(kind)))


@pytest.mark.parametrize("paper, variant, kind", [("bert", "tiny", "wordpiece"), ("electra", "small", "unigram")])
def test_candidates_in_batches_are_those_of_one_sentence(paper, variant, kind, smoke_config):
    run = random_run(smoke_config(paper=paper, variant=f"{variant},smoke"), kind)
    vocabulary = run.vocabulary
    texts = ["the old city", "she was a painter, and the river flows into the sea " * 3]
    texts = texts[: max(run.config.phases.lengths) // 32]  # of two shapes, where there are two
    asked = [(split_words(run, text).pieces, place) for text in texts for place in (0, 2)]
    found, windows = MaskedModel(run, 5, "paper")(asked)
    assert windows == 0
    no_words = np.flatnonzero(vocabulary.special | ~vocabulary.starts_word).tolist()
    unusable = {"[UNK]", "<unk>", "\u2581", *map(run.tokenizer.id_to_token, no_words)}
    for (pieces, place), words in zip(asked, found, strict=True):
        ids = sum([*pieces[:place], [vocabulary.mask], *pieces[place + 1 :]], [])
        best = [name for name, _ in predict.fill_blanks(run, ids, vocabulary.size)[0] if name not in unusable]
        assert words == [name.removeprefix("\u2581") for name in best[:5]]
    assert len({tuple(words) for words in found}) == len(found) == 2 * len(texts)


def test_the_script_writes_what_training_reads(smoke_config, root, tmp_path):
    run = random_run(smoke_config())
    shapes = jax.eval_shape(lambda: initial_state(run.config, run.model, run.vocabulary))
    checkpoints = Checkpoints(tmp_path / "run", {}, 1)
    checkpoints.save(0, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes) | {"params": run.params})
    checkpoints.close()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"config": run.config.to_dict()}))
    tokenizer_files.save(run.tokenizer, tmp_path / "run" / "tokenizer.json")
    for split in ("train", "heldout"):
        lines = [{"text": one.text, "label": "ab"[one.label]} for one in EXAMPLES[:2]]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "vectors.txt").write_text("".join(f"{word} {x} {y} {z}\n" for word, (x, y, z) in VECTORS.items()))
    command = [
        sys.executable, "scripts/augment.py", "--config=configs/finetune.py:bert-tiny,jsonl",
        f"--config.task.folder={tmp_path}", "--config.task.augmented=earlier.jsonl",
        f"--masked_lm={tmp_path}/run", f"--vectors={tmp_path}/vectors.txt", f"--output={tmp_path}/more.jsonl",
        "--copies=3", "--threshold=0.9", "--config.data.max_examples=1",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "more.jsonl").read_text().splitlines()]
    # Of two examples the one with the smaller hash.
    assert [line["text"] for line in lines][0] == EXAMPLES[1].text and len(lines) == 4
    assert {line["label"] for line in lines} == {"a"} and "examples out       4" in done.stdout


def test_a_run_without_a_masked_model_and_values_out_of_range_are_refused():
    causal = SimpleNamespace(**vars(stub_run()) | {"model": SimpleNamespace(heads=("clm",))})
    with pytest.raises(UserError, match="no masked language model"):
        augment(EXAMPLES, causal)
    for options, message in [
        (dict(variant="papper"), "unknown variant 'papper'; did you mean 'paper'"),
        (dict(copies=0), "copies=0: at least 1"),
        (dict(threshold=1.5), "threshold=1.5"),
        (dict(candidates=0), "candidates=0: from 1 to the 74"),
        (dict(candidates=75), "candidates=75: from 1 to the 74"),
        (dict(seed=-1), "seed=-1"),
    ]:
        with pytest.raises(UserError, match=message):
            augment(EXAMPLES, stub_run(), **options)


def test_neighbours_are_nearest_by_cosine():
    words = ["grin", "sane", "zero", "dire", "old", "river"]
    assert vectors().neighbours(words, 3, block=2) == [plain_neighbours(word, 3) for word in words]
    assert vectors().neighbours(["old"], 3) == [["grey", "grin", "dire"]]
    assert len(vectors().neighbours(["old"], 99)[0]) == 4
    assert WordVectors(["one"], [[1.0]]).neighbours(["one"], 3) == [[]]

    random = np.random.default_rng(0).normal(size=(300, 8))
    names = [str(number) for number in range(300)]
    cosines = random @ random.T / np.linalg.norm(random, axis=1) / np.linalg.norm(random, axis=1)[:, None]
    expected = [[names[i] for i in np.argsort(-row)[1:16]] for row in cosines]
    assert WordVectors(names, random).neighbours(names, 15) == expected


def test_vectors_are_read_from_glove_text(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("the 1 2\n. . . 0 -4e-1\ncafé 3.5 0\nthe 7 7\nzero 0 0\n", encoding="utf-8")
    read = read_vectors(path)
    assert read.words == ["the", ". . .", "café"]
    np.testing.assert_allclose(read.directions, [[1 / 5**0.5, 2 / 5**0.5], [0, -1], [1, 0]], rtol=1e-6)
    assert read.directions.dtype == np.float32
    assert read_vectors(path, most=2).words == read.words[:2] and read_vectors(path, most=0).words == read.words


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "vectors.txt is empty"),
        (b"the 1 2\nof 1\n", "vectors.txt, line 2: a word and 2 numbers"),
        (b"the 1 2\nof 1 2 3\n", "vectors.txt, line 2: a word and 2 numbers"),
        (b"400000 2\nthe 1 2\n", "vectors.txt, line 2: a word and 1 numbers"),
        (b"the 1 2\n\nof 1 2\n", "vectors.txt, line 2: a word and 2 numbers"),
        (b"the 1 2\nof 1 x\n", "vectors.txt, line 2: not a vector of numbers"),
        (b"the 1 2\nof 1 nan\n", "vectors.txt, line 2: the vector of 'of' has a number that is not finite"),
        (b"the\n", "vectors.txt, line 1: a word and 1 numbers"),
        (b"the 1 2\ncaf\xe9 1 2\n", "vectors.txt, line 2, byte 11: not UTF-8"),
    ],
    ids=["empty", "short", "long", "header", "blank", "letters", "nan", "no vector", "latin-1"],
)
def test_bad_vectors_are_one_line(content, message, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as told:
        read_vectors(path)
    assert message in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(UserError, match="nowhere does not exist"):
        read_vectors(tmp_path / "nowhere")
