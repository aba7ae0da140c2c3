"""What is decided of a task's split, from its logits to metrics and files, and by whole runs."""

import json
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import torch

from configs import finetune
from ssl_jax import tasks, train
from ssl_jax.data import batches
from ssl_jax.errors import UserError
from ssl_jax.evaluators import postprocess, submissions
from ssl_jax.load import load_run
from ssl_jax.tasks import SpanStore, Words, WordStore
from tests.reference import squad as reference
from tests.unit.test_batches import VOCABULARY
from tests.unit.test_heads import JointSpanInTorch, random_joint_span, seen
from tests.unit.test_metrics import chunks
from tests.unit.test_spans import Numbers as SpanNumbers
from tests.unit.test_spans import brute_force, make_questions
from tests.unit.test_task_files import SETS, json_lines
from tests.unit.test_tasks import Halves

pytestmark = pytest.mark.slow  # compiles programs, or trains

RANDOM = np.random.default_rng(0)


def test_one_logit_is_a_score_and_several_are_a_choice():
    np.testing.assert_array_equal(postprocess.largest(np.array([[0.5], [-2.0]])), [0.5, -2.0])
    np.testing.assert_array_equal(postprocess.largest(np.array([[0.5, 1.0], [3.0, -2.0]])), [1, 0])


NLI = ("entailment", "neutral", "contradiction")


MEASURED = {"heldout": "accuracy", "heldout_mismatched": "accuracy", "ax": "matthews"}


@pytest.mark.parametrize("split", MEASURED)
def test_the_diagnostic_set_has_its_own_metric(split):
    task, logits = SimpleNamespace(name="mnli", labels=NLI), np.eye(3)[[0, 1, 2, 2]]
    rows = SimpleNamespace(store=SimpleNamespace(labels=np.array([0, 1, 2, 1])))
    values, files = postprocess.decide(task, split, rows, logits, "class_logits")
    chance = {} if split == "ax" else {"chance": 2 / 4}  # beside an accuracy
    assert list(values) == [MEASURED[split], "score", *chance] and 0 < values["score"] < 1
    assert {name: value for name, value in values.items() if name == "chance"} == chance
    assert list(files) == ["AX.tsv" if split == "ax" else f"predictions-{split}.tsv"]
    rows.store.labels[3] = -1
    # Where not all labels are known, the predictions stand alone; a server's file has no labels anyway.
    alone = {name: re.sub(r"^([^\t\n]*\t[^\t\n]*)\t.*$", r"\1", text, flags=re.M) for name, text in files.items()}
    assert postprocess.decide(task, split, rows, logits, "class_logits") == (None, alone)
    assert (alone == files) == (split == "ax")


def test_superglues_diagnostic_sets_are_measured_as_its_paper_has_them():
    labels, guesses = np.array([0, 1, 0, 1, 1, 0]), [0, 1, 1, 1, 0, 1]
    pairs = ["8", "3", "8", "3", "5", "5"]
    task = SimpleNamespace(name="superglue_rte", labels=("entailment", "not_entailment"))
    ids = [f"{pair}/{n}" for n, pair in enumerate(pairs)]
    rows = SimpleNamespace(store=SimpleNamespace(labels=labels, ids=ids))
    found = {}
    for split in ("heldout", "ax_b", "ax_g"):
        found[split], _ = postprocess.decide(task, split, rows, np.eye(2)[guesses], "class_logits")
    same = [len({guess for guess, other in zip(guesses, pairs) if other == pair}) == 1 for pair in sorted(set(pairs))]
    assert found["heldout"] == {"accuracy": 3 / 6, "chance": 3 / 6, "score": 3 / 6}
    assert found["ax_g"] == found["heldout"] | {"gender_parity": sum(same) / 3} and sum(same) == 1
    told = list(zip(labels, guesses))
    right, zeros, wrong, missed = (told.count(both) for both in ((1, 1), (0, 0), (0, 1), (1, 0)))
    below = np.sqrt((right + wrong) * (right + missed) * (zeros + wrong) * (zeros + missed))
    matthews = (right * zeros - wrong * missed) / below
    assert found["ax_b"] == pytest.approx({"matthews": matthews, "score": matthews})
    rows.store.ids = ["0", "1", "2", "3", "4", "5"]  # TensorFlow Datasets does not tell the pairs
    assert postprocess.decide(task, "ax_g", rows, np.eye(2)[guesses], "class_logits").values == found["heldout"]
    rows.store.labels = labels - 1
    assert postprocess.decide(task, "ax_g", rows, np.eye(2)[guesses], "class_logits").values is None


@pytest.mark.parametrize("name", ["squad", "squad2"])
def test_answers_are_those_of_all_windows_and_measured_as_the_official_scripts_do(name):
    questions, plain = make_questions()
    if name == "squad":
        questions, plain = zip(*(pair for pair in zip(questions, plain) if pair[0].answers), strict=True)
    # The last word of an answer is right, too.
    questions = [one._replace(answers=one.answers + tuple(x.split()[-1] for x in one.answers)) for one in questions]
    rows = SpanStore(questions, SpanNumbers(), 3, max_question=6).rows(VOCABULARY, 14)
    logits = 3 * RANDOM.normal(size=(len(rows), 14, 2))
    span = rows(np.arange(len(rows)))["span"]
    logits[np.arange(len(rows)), span[:, 0], 0] += 6  # right more often than by chance
    logits[np.arange(len(rows)), span[:, 1], 1] += 6
    task = SimpleNamespace(name=name, labels=(), n_best=20, max_answer=4)
    decision = postprocess.decide(task, "heldout", rows, logits.reshape(len(rows), -1), "span_logits")
    best = brute_force(*np.moveaxis(logits, -1, 0), plain, questions, 14, 3, 6, 4)
    answers = {key: text for key, ((_, text), _) in best.items()}
    na_probs = {key: 1 / (1 + np.exp(score - null)) for key, ((score, _), null) in best.items()}
    assert_measured(name, decision, questions, answers, na_probs)


def assert_measured(name, decision, questions, answers, na_probs):
    """A decision's metrics are the official scripts' of these answers, id -> text, and its files have them."""
    values, files = decision
    golds = {one.id: list(one.answers) for one in questions}
    files = {file: json.loads(text) for file, text in files.items()}
    if name == "squad":
        exact, f1 = reference.version1(answers, golds)
        assert values == pytest.approx({"exact": exact, "f1": f1, "score": f1}) and 0 < exact < 1
        assert files == {"predictions-heldout.json": answers}
        return
    scores = reference.raw_scores(answers, golds)
    best_f1, threshold = reference.best({key: f1 for key, (_, f1) in scores.items()}, answers, golds, na_probs)
    assert values["score"] == values["best_f1"] == pytest.approx(best_f1)
    for place, metric in enumerate(("exact", "f1")):
        raw = {key: pair[place] for key, pair in scores.items()}
        neutral = reference.at_threshold(raw, golds, na_probs, 0.5)
        assert values[metric] == pytest.approx(np.mean(list(neutral.values()))) and values[metric] < best_f1
    assert files["na_probs-heldout.json"] == pytest.approx(na_probs)
    withheld = {key for key, prob in na_probs.items() if prob > threshold + 1e-9}
    assert files["predictions-heldout.json"] == answers | dict.fromkeys(withheld, "") and 0 < len(withheld) < len(golds)


@pytest.mark.parametrize("name, beam", [("squad", 20), ("squad2", 20), ("squad2", 2)])
def test_electras_answers_are_the_likeliest_of_its_beams_and_a_classifier_withholds_them(name, beam):
    """A beam of 20 has all pairs of a row's 14 positions."""
    questions, plain = make_questions()
    if name == "squad":
        questions, plain = zip(*(pair for pair in zip(questions, plain) if pair[0].answers), strict=True)
    rows = SpanStore(questions, SpanNumbers(), 3, max_question=6).rows(VOCABULARY, 14)
    batch = rows(np.arange(len(rows)))
    states = np.random.default_rng(0).normal(size=(len(rows), 14, 6)).astype(np.float32)
    head, weights = random_joint_span(beam, name == "squad2", states, batch)
    # Right more often than by chance.
    starts = weights["start"]["kernel"][:, 0]
    states[np.arange(len(rows)), batch["span"][:, 0]] += 4 * starts / (starts**2).sum()
    if name == "squad2":
        judged = weights["impossible_hidden"]["kernel"][:6] @ weights["impossible"]["kernel"][:, 0]
        states[batch["impossible"], 0] += 20 * judged / (judged**2).sum()
    asked = {key: batch[key] for key in ("mask", "segments")}  # without the answers
    made = jax.jit(lambda weights: head.apply({"params": weights}, seen(states, asked))["span_candidates"])(weights)
    task = SimpleNamespace(name=name, labels=(), max_answer=4)
    decision = postprocess.decide(task, "heldout", rows, np.asarray(made).reshape(len(rows), -1), "span_candidates")

    weights, states = jax.tree.map(torch.tensor, (weights, states))
    best, null = {}, dict.fromkeys((one.id for one in questions), np.inf)
    for window, (number, size, *_) in enumerate(rows.windows):
        key, tokens = questions[number].id, batch["tokens"][window].tolist()
        context = range(size + 2, int(batch["mask"][window].sum()) - 1)
        possible = [place == 0 or place in context or place == context.stop for place in range(14)]
        plainly = JointSpanInTorch(weights, states[window], possible)
        if name == "squad2":
            null[key] = min(null[key], float(plainly.impossible()))
        for start in plainly.starts.argsort(descending=True)[:beam].tolist():
            ends = plainly.ends(start)
            score = (torch.log_softmax(ends, 0) + torch.log_softmax(plainly.starts, 0)[start]).tolist()
            for end in ends.argsort(descending=True)[:beam].tolist():
                if start in context and end in context and start <= end < start + 4:
                    text = " ".join(map(str, tokens[start : end + 1]))
                    best[key] = max(best.get(key, (-np.inf, "")), (score[end], text))
    answers = {one.id: best.get(one.id, (0, ""))[1] for one in questions}
    assert ("" in answers.values()) == (beam == 2)  # of a small beam all spans may be impossible
    na_probs = {key: 1 / (1 + np.exp(-logit)) for key, logit in null.items()}
    assert_measured(name, decision, questions, answers, na_probs)


def test_windows_that_are_not_all_of_any_question_are_refused():
    rows = SpanStore(make_questions()[0], SpanNumbers(), 3, max_question=6).rows(VOCABULARY, 14)
    assert rows.windows[1, 0] == 0
    with pytest.raises(UserError, match="^1 windows of split 'heldout' are not all of any question's: set max_batches"):
        task = SimpleNamespace(name="squad", n_best=20, max_answer=30)
        postprocess.decide(task, "heldout", rows, np.zeros((1, 28)), "span_logits")


def test_words_that_are_not_read_count_as_outside():
    labels = ("O", "B-PER", "I-PER")
    examples = [Words(("Angela", "-", "of", "Bonn"), (1, 2, 0, 1)), Words(("x",), (1,)), Words(("y",), (0,))]
    rows = WordStore(examples, Halves()).rows(VOCABULARY, 6)  # four tokens: An gela of Bo
    logits = np.zeros((2, 6, 3))
    logits[:, :, 1] = 1  # all are B-PER
    task = SimpleNamespace(name="conll2003", labels=labels)
    values, files = postprocess.decide(task, "test", rows, logits.reshape(2, -1), "token_class_logits")
    expected = "Angela B-PER B-PER\n- I-PER O\nof O B-PER\nBonn B-PER B-PER\n\nx B-PER B-PER\n\n"
    assert files == {"predictions-test.txt": expected}
    # Right: Bonn and x; Angela's entity is longer, 'of' is none.
    assert values == pytest.approx({"ner_f1": 2 * 2 / (4 + 3), "score": 2 * 2 / (4 + 3)})
    # In a document the sentence begins later: 'x' is read where it stands, behind three of the tokens before it.
    document = tuple(one.words for one in examples)
    inside = [one._replace(document=document, place=place) for place, one in enumerate(examples)]
    rows = WordStore(inside, Halves(), context="document").rows(VOCABULARY, 7)
    logits = np.zeros((2, 7, 3))
    logits[1, 4, 2] = 1
    _, files = postprocess.decide(task, "test", rows, logits.reshape(2, -1), "token_class_logits")
    assert rows.before(np.arange(2)).tolist() == [0, 3] and "\n\nx B-PER I-PER\n" in files["predictions-test.txt"]
    logits = np.zeros((2, 6, 3))
    logits[:, :, 1] = 1
    short = WordStore(examples, Halves()).rows(VOCABULARY, 5)
    _, files = postprocess.decide(task, "test", short, logits[:, :5].reshape(2, -1), "token_class_logits")
    assert "Bonn B-PER O\n" in files["predictions-test.txt"]


def configured(task, folder, data_root, files, model="bert-tiny", **changes):
    """A tiny run's config of a task whose files, name -> text, are written first."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    config = finetune.get_config(f"{model},{task},smoke")
    config.update_from_flattened_dict(
        {"task.folder": str(folder), "data.root": data_root, "steps": 12, "run.evaluate_every": 6, "run.log_every": 6,
         "run.checkpoint_every": 12, "batch_size": 4, "model.layers": 1, "phases.lengths": (16,), "parallel.devices": 2,
         "optimizer.learning_rate": 1e-2} | changes
    )  # fmt: skip
    return config


CONTEXTS = (
    "London is the Capital of England.  The city — on the River Thames — has 9 million people, and the river is long.",
    "In 1905 the “old” university of the north was built on a hill, where a small church had been for many years!",
)
ASKED = [(0, "the Capital"), (0, "River Thames"), (0, None), (1, "1905"), (1, "“old”"), (1, None), (0, "9 million")]


def squad_files():
    paragraphs = []
    for number, context in enumerate(CONTEXTS):
        questions = []
        for n, (place, answer) in enumerate(ASKED):
            if place == number:
                golds = [answer, context[context.index(answer) :].split()[0]] if answer else []
                answers = [{"text": gold, "answer_start": context.index(answer)} for gold in golds]
                asked = {"id": f"q{n}", "question": f"{context[n:]}?", "answers": answers, "is_impossible": not answer}
                questions.append(asked)
        paragraphs.append({"context": context, "qas": questions})
    text = json.dumps({"version": "v2.0", "data": [{"title": "T", "paragraphs": paragraphs}]})
    return {"train-v2.0.json": text, "dev-v2.0.json": text}


# What is read of a model, and its losses.
ANSWERING = {
    "bert-tiny": ("span_logits", {"span": 1.0}),
    "electra-small": ("span_candidates", {"joint_span": 1.0, "answerable": 0.5}),
    "albert-base": ("span_candidates", {"joint_span": 1.0, "answerable": 0.5}),
}


@pytest.mark.parametrize("model", ANSWERING)
def test_a_run_answers_questions_on_windows_over_a_mesh(model, tmp_path, data_root):
    changes = {"task.max_question": 4, "task.stride": 3, "task.max_answer": 5, "optimizer.learning_rate": 1e-3,
               "parallel.devices": 4, "parallel.mode": "mesh", "parallel.fsdp": 2, "run.evaluate_every": 12}  # fmt: skip
    changes["data.tokenizer.kind"] = "wordpiece"
    config = configured("squad2", tmp_path / "files", data_root, squad_files(), model, **changes)
    result = train.train(config, tmp_path / "run")
    answers, na_probs = (
        json.loads((tmp_path / f"run/{name}-heldout.json").read_text()) for name in ("predictions", "na_probs")
    )
    # By what the files say.
    golds = {f"q{n}": [] for n, _ in enumerate(ASKED)}
    for paragraph in json.loads(squad_files()["dev-v2.0.json"])["data"][0]["paragraphs"]:
        for question in paragraph["qas"]:
            golds[question["id"]] = [answer["text"] for answer in question["answers"]]
            assert answers[question["id"]] in paragraph["context"]
    assert answers.keys() == na_probs.keys() == golds.keys() and len(set(na_probs.values())) == len(golds)
    scores = reference.raw_scores(answers, golds)
    assert result["score"] == result["best_f1"] == pytest.approx(np.mean([f1 for _, f1 in scores.values()]))
    assert {name for name, prob in na_probs.items() if prob > result["best_f1_threshold"]} <= {
        name for name, text in answers.items() if not text
    }
    name, losses = ANSWERING[model]
    assert result["loss"] == sum(weight * result[f"{loss}_loss"] for loss, weight in losses.items())
    assert 0 <= result["exact"] <= result["f1"] <= result["best_f1"]
    # From the logits of all windows at once, on one device.
    run = load_run(tmp_path / "run")
    rows = tasks.open_stores(run.config, run.tokenizer)["heldout"].rows(run.vocabulary, 16)
    assert len(rows) > 2 * len(golds) and len(rows) % 4
    batch = batches.TaskEvaluation(rows.store, run.vocabulary, 16, len(rows))(0)
    logits = jax.jit(lambda params: run.model.apply({"params": params}, batch)[name])(run.params)
    values, files = postprocess.decide(
        run.config.task, "heldout", rows, np.asarray(logits).reshape(len(rows), -1), name
    )
    assert json.loads(files["predictions-heldout.json"]) == answers
    assert values == pytest.approx({name: result[name] for name in values}, rel=1e-4)


TAGS = {"london": "I-LOC", "england": "B-LOC", "john": "B-PER", "smith": "I-PER", "\u200b": "I-LOC"}
SENTENCES = [
    "John Smith was born in London and England is where he was and London is long of John Smith",
    "in \u200b London",
    "the city",
    "Smith was in England England",
    "John",
]


def conll_text(sentences):
    begins = "-DOCSTART- -X- O O\n\n"
    tagged = [[f"{word} X X {TAGS.get(word.lower(), 'O')}" for word in one.split()] for one in sentences]
    return begins + "\n\n".join(map("\n".join, tagged)) + "\n"


def cells(text, split=None):
    """Sentences of lines of cells."""
    return [[line.split(split) for line in sentence.splitlines()] for sentence in text.strip("\n").split("\n\n")]


def test_two_seeds_find_entities_and_a_labelled_test_set_is_in_the_result(tmp_path, data_root):
    sources = {"heldout": conll_text(SENTENCES), "test": conll_text(SENTENCES[:3])}
    files = {"eng.train": conll_text(SENTENCES * 2), "eng.testa": sources["heldout"], "eng.testb": sources["test"]}
    config = configured("conll2003", tmp_path / "files", data_root, files, seeds=2, evaluate_every=12)
    result = train.train(config, tmp_path / "run")
    for seed in (0, 1):
        folder = tmp_path / f"run/seed-{seed}"
        own = json.loads((folder / "result.json").read_text())
        for prefix, (split, source) in zip(("", "test/"), sources.items()):
            told, given = cells((folder / f"predictions-{split}.txt").read_text(), " "), cells(source)[1:]
            assert [[line[:2] for line in one] for one in told] == [[line[::3] for line in one] for one in given]
            gold, predicted = (
                {(n, *chunk) for n, one in enumerate(told) for chunk in chunks([line[place] for line in one])}
                for place in (1, 2)
            )
            f1 = 2 * len(gold & predicted) / (len(gold) + len(predicted))
            assert own[f"{prefix}ner_f1"] == own[f"{prefix}score"] == pytest.approx(f1) and 0 < f1 < 1
            assert result[f"{prefix}ner_f1"]["values"][seed] == own[f"{prefix}ner_f1"]
            # Cut off, or no token at all.
            assert {line[2] for line in told[0][14:]} == {told[1][1][2]} == {"O"} and told[0][14:]


def multirc_lines(labelled):
    """Two paragraphs, numbered oddly, of two questions and one; each with three answers."""
    made = []
    for paragraph, questions in ((7, (4, 5)), (2, (9,))):
        asked = []
        for question in questions:
            answers = [{"text": ("no city", "a river", "the river")[n], "idx": 10 * question + n} for n in range(3)]
            for n, answer in enumerate(answers if labelled else ()):
                answer["label"] = int(n > 0 or question == 9)
            asked.append({"question": "what is it ?", "idx": question, "answers": answers})
        made.append({"idx": paragraph, "passage": {"text": "it is a long river .", "questions": asked}})
    return json_lines(*made)


def test_a_run_judges_multircs_answers_by_question(tmp_path, data_root, monkeypatch):
    saved, save = [], submissions.save
    monkeypatch.setattr(submissions, "save", lambda folder, files: (saved.append(list(files)), save(folder, files)))
    files = {f"{name}.jsonl": multirc_lines(name != "test") for name in ("train", "val", "test")}
    config = configured("multirc", tmp_path / "files", data_root, files)
    result = train.train(config, tmp_path / "run")
    assert saved == [["predictions-heldout.tsv"], ["predictions-heldout.tsv"], ["MultiRC.jsonl"]]
    assert not any(name.startswith("test/") for name in result)
    _, *lines = (tmp_path / "run/predictions-heldout.tsv").read_text().splitlines()
    guesses = [line.split("\t")[1] == "True" for line in lines]
    labels = [n > 0 or question == 9 for question in (4, 5, 9) for n in range(3)]
    both = sum(a and b for a, b in zip(guesses, labels, strict=True))
    assert result["f1a"] == pytest.approx(2 * both / (sum(guesses) + sum(labels))) and both
    exact = np.mean([guesses[n : n + 3] == labels[n : n + 3] for n in (0, 3, 6)])
    assert (result["exact"], result["score"]) == pytest.approx((exact, (exact + result["f1a"]) / 2))
    # The same texts: the test set's file says what the other one does, by number.
    told = [json.loads(line) for line in (tmp_path / "run/MultiRC.jsonl").read_text().splitlines()]
    found = [
        (paragraph["idx"], question["idx"], answer["idx"], answer["label"])
        for paragraph in told for question in paragraph["passage"]["questions"] for answer in question["answers"]
    ]  # fmt: skip
    places = [(*place, 10 * place[1] + n) for place in ((7, 4), (7, 5), (2, 9)) for n in range(3)]
    assert found == [(*place, int(guess)) for place, guess in zip(places, guesses, strict=True)]


def test_every_further_split_is_decided_at_the_end(tmp_path, data_root):
    config = configured("mnli", tmp_path / "files", data_root, SETS["mnli"][0])
    made = tasks.resolve(config).evals
    further = {"heldout_mismatched", "test_mismatched", "ax"}
    assert set(made) == {"heldout"} | further
    for split in further:
        assert made[split].to_dict() == {"module": "task", "split": split, "max_batches": 0, "at_end": True}
    config.evals.heldout.module = "mean"
    assert list(tasks.resolve(config).evals) == ["heldout"]
