"""A classifier's rows come in the order of the task's names or are refused, whether ours or a model of transformers."""

import functools
import json
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import torch

from configs import finetune, tinybert
from ssl_jax import labels, start, train
from ssl_jax.distill import teachers as distill
from ssl_jax.errors import UserError
from ssl_jax.interop import check, huggingface
from ssl_jax.models.model import build_model
from ssl_jax.runs import Run
from tests.parity.test_five_steps import make_batch, make_config, make_params

MNLI, GOOGLE = ("entailment", "neutral", "contradiction"), ("contradiction", "entailment", "neutral")
BYTES = tuple(map(str, range(12)))  # whose order by name is 0, 1, 10, 11, 2, ...
# A source's names, a task's, the row of each, and what the line says.
ORDERS = {
    "same": (MNLI, MNLI, (0, 1, 2), ""),
    "moved": (GOOGLE, MNLI, (1, 2, 0), "by name: entailment is row 1, neutral is row 2, contradiction is row 0"),
    "one stays": (("a", "c", "b"), ("a", "b", "c"), (0, 2, 1), "by name: b is row 2, c is row 1"),
    "case": (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), MNLI, (2, 1, 0), "by name: entailment is row 2"),
    "spelling": (("not entailment", " Entailment"), ("entailment", "not_entailment"), (1, 0), "by name"),
    "tags": (("O", "b-per", "I-PER"), ("I_PER", "O", "B-PER"), (2, 0, 1), "by name: I_PER is row 2"),
    "case counts": (("A", "a"), ("a", "A"), (1, 0), "by name: a is row 1"),
    "numbers": (("1", "0"), ("0", "1"), (1, 0), "by name: 0 is row 1"),
    "unnamed": (
        ("LABEL_0", "LABEL_1"),
        ("no", "yes"),
        (0, 1),
        "its classes have no names, .* unchecked: no is row 0, yes",
    ),
    "no names": ((), MNLI, (0, 1, 2), "its classes have no names, .* unchecked: entailment is row 0, neutral"),
    "numbered": (
        ("1", "0"),
        ("no", "yes"),
        (1, 0),
        "its classes have no names, .* unchecked: no is row 1, yes is row 0",
    ),
    "a task of numbers": (
        MNLI,
        ("0", "1", "2"),
        (0, 1, 2),
        "the task's classes are numbers, .* unchecked: 0 is row 0, 1",
    ),
    "ten is after nine": ((), tuple(sorted(BYTES)), (0, 1, 10, 11, *range(2, 10)), "9 is row 9|2 is row 2"),
    "LABEL_10, too": (
        tuple(f"LABEL_{n}" for n in BYTES),
        tuple(sorted(BYTES)),
        (0, 1, 10, 11, *range(2, 10)),
        "unchecked",
    ),
}
DIFFER = {
    "other": (("true", "fake"), ("real", "untrue"), "has the classes true, fake, and this task real, untrue: rename"),
    "one": (
        ("entailment", "neutral", "contradictory"),
        MNLI,
        "entailment, neutral, contradictory, and this task entail",
    ),
    "part": (("O", "B-PERS"), ("O", "B-PER"), "O, B-PERS, and this task O, B-PER"),
    "twice": (("no", "no"), ("no", "yes"), "no, no, and this task no, yes"),
    "case is all": (("a", "A"), ("a", "b"), "a, A, and this task a, b"),
    "numbers": (("1", "2"), ("0", "1"), "1, 2, and this task 0, 1"),
    "long": (
        tuple(f"c{n}" for n in range(40)),
        (*(f"c{n}" for n in range(39)), "x"),
        "has the classes c39, c0, .* and 30 more, and this task x, c0, .* and 30 more: rename",
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_rows_are_found_by_name(case):
    theirs, ours, order, message = ORDERS[case]
    found, line = labels.match(theirs, ours, "W", "")
    assert found == order
    assert bool(line) == bool(message) and "\n" not in line
    if message:
        assert re.search(f"^W: .*({message})", line), line


@pytest.mark.parametrize("case", DIFFER)
def test_names_that_differ_are_refused(case):
    theirs, ours, message = DIFFER[case]
    with pytest.raises(UserError, match=f"^W .*{message}") as error:
        labels.match(theirs, ours, "W", "rename them")
    assert len(str(error.value)) < 300


TASK = {"classifier": "bert-tiny,jsonl,smoke", "token_classes": "bert-tiny,conll2003,smoke"}


@functools.cache
def model_of(head, classes):
    config = make_config(finetune, TASK[head], {"model.layers": 1, "task.classes": classes, "init.fresh": ()})
    if classes == 1:
        config.losses.update(classify=0.0, regress=1.0)
    model = build_model(config)
    return config, model, jax.tree.map(np.asarray, make_params(config, model))


def run_of(head, names, classes=3, factor=1, **changes):
    """A run of ours with such classes and random parameters, the same but for a factor."""
    config, model, params = model_of(head, classes)
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict({"task.labels": names} | changes)
    return Run("W", config, model, jax.tree.map(lambda x: factor * x, params), SimpleNamespace(), None)


def logits(model, params):
    out = model.apply({"params": params}, make_batch(0, 2))
    return np.asarray(out["class_logits" if "class_logits" in out else "token_class_logits"])


@pytest.mark.parametrize("head", TASK)
def test_a_start_has_the_classes_in_the_tasks_order(head):
    source, ours = run_of(head, GOOGLE, factor=-1), run_of(head, MNLI)
    params, lines = start.start_from(ours.params, ours.model, source, ours.config)
    assert lines[1:] == [
        "init.run: W: rows of its classes are taken by name: "
        "entailment is row 1, neutral is row 2, contradiction is row 0"
    ]
    np.testing.assert_array_equal(logits(ours.model, params), logits(source.model, source.params)[..., [1, 2, 0]])
    same, lines = start.start_from(ours.params, ours.model, ours, ours.config)
    assert same[head]["dense"]["bias"] is ours.params[head]["dense"]["bias"] and len(lines) == 1


def test_a_start_with_other_classes_is_refused_unless_they_are_new():
    source, ours = run_of("classifier", ("a", "b", "c")), run_of("classifier", MNLI)
    ours.config.init.fresh = ("features",)
    message = "init.run: W has the classes a, b, c, and this task entailment, .*config.init.fresh=features,classifier$"
    with pytest.raises(UserError, match=message):
        start.start_from(ours.params, ours.model, source, ours.config)
    ours.config.init.fresh = ("classifier",)
    params, lines = start.start_from(ours.params, ours.model, source, ours.config)
    assert params["classifier"]["dense"]["bias"] is ours.params["classifier"]["dense"]["bias"] and len(lines) == 1


def test_a_start_without_names_says_what_it_takes():
    for names in ((), ("LABEL_0", "LABEL_1", "LABEL_2"), ("one", "two")):
        source, ours = run_of("classifier", names, factor=-1), run_of("classifier", MNLI)
        params, (_, line) = start.start_from(ours.params, ours.model, source, ours.config)
        assert line.endswith("unchecked: entailment is row 0, neutral is row 1, contradiction is row 2")
        assert params["classifier"]["dense"]["kernel"] is source.params["classifier"]["dense"]["kernel"]


def test_scores_keep_their_units():
    """ELECTRA's release predicts STS-B's score divided by five."""
    source, ours = run_of("classifier", (), 1, -1, **{"task.scale": 5.0}), run_of("classifier", (), 1)
    params, lines = start.start_from(ours.params, ours.model, source, ours.config)
    np.testing.assert_allclose(logits(ours.model, params), 5 * logits(source.model, source.params), rtol=1e-5)
    assert lines[1:] == ["W: its scores are multiplied by 5, as task.scale says here"]
    same, lines = start.start_from(source.params, source.model, source, source.config)
    assert same["classifier"]["dense"]["bias"] is source.params["classifier"]["dense"]["bias"] and len(lines) == 1


def student(names, **changes):
    changes = {
        "task.classes": 3,
        "task.labels": names,
        "teacher.runs": ("W",),
        "init.run": "",
        "task.name": "jsonl",
    } | changes
    return make_config(tinybert, "4-312,prediction,smoke", changes)


def teachers(config, run, monkeypatch):
    monkeypatch.setattr(distill, "load_run", lambda folder, parallel: run)
    monkeypatch.setattr(Run, "tokenizer_hash", "")
    return distill.load_teachers(config, "", None)


def test_a_teacher_has_its_classes_in_the_students_order(monkeypatch, capsys):
    run, config = run_of("classifier", GOOGLE), student(MNLI)
    teaching = teachers(config, run, monkeypatch)
    out = distill.make_teach(config, [run.model for run in teaching])({}, make_batch(0, 2), [teaching[0].params])
    np.testing.assert_array_equal(out["class_logits"], logits(run.model, run.params)[:, [1, 2, 0]])
    # A cache of the teacher as it is was made of another one.
    assert teaching[0].params_hash != run.params_hash
    assert "teacher W: rows of its classes are taken by name: entailment is row 1" in capsys.readouterr().out
    assert (
        teachers(config, run_of("classifier", MNLI), monkeypatch)[0].params_hash
        == run_of("classifier", MNLI).params_hash
    )
    assert not capsys.readouterr().out


def test_a_teacher_of_other_classes_is_refused(monkeypatch, capsys):
    with pytest.raises(
        UserError, match="teacher W has the classes contradiction, entailment, neutral, and this task a, b, c: "
    ):
        teachers(student(("a", "b", "c")), run_of("classifier", GOOGLE), monkeypatch)
    with pytest.raises(UserError, match="teacher W knows the 3 classes of jsonl, and the student's task mnli has 3"):
        teachers(student(MNLI, **{"task.name": "mnli"}), run_of("classifier", GOOGLE), monkeypatch)
    unnamed = run_of("classifier", (), **{"task.name": ""})  # as a model of transformers
    with pytest.raises(
        UserError, match="teacher W knows the 3 classes of its task, and the student's task jsonl has 2"
    ):
        teachers(student(("a", "b"), **{"task.classes": 2}), unnamed, monkeypatch)
    teachers(student(MNLI, **{"task.name": "mnli"}), unnamed, monkeypatch)
    assert (
        "teacher W: its classes have no names, so rows are taken by number, unchecked: ent" in capsys.readouterr().out
    )


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Of transformers: a classifier that says 'untrue', its number 0, to everything; and a task that mostly is."""
    root = tmp_path_factory.mktemp("theirs")
    model = check.random_model("bert", "BertForSequenceClassification", layers=1)
    model.classifier = torch.nn.Linear(36, 2)
    with torch.no_grad():
        model.classifier.weight.mul_(0.01)
        model.classifier.bias.copy_(torch.tensor([3.0, -3.0]))
    model.num_labels = model.config.num_labels = 2
    model.config.id2label = {0: "Untrue", 1: "real"}
    model.config.label2id = {"Untrue": 0, "real": 1}
    model.save_pretrained(root / "model")
    check.write_vocabulary(root / "model")
    lines = [json.dumps({"text": f"a b c {n % 9}", "label": "real" if n % 12 == 0 else "untrue"}) for n in range(24)]
    for split in ("train", "heldout"):
        (root / f"{split}.jsonl").write_text("\n".join(lines))
    (root / "text.txt").write_text("\n\n".join(f"a b c {n}. d e f {n}." for n in range(40)))
    return root


def test_a_classifier_of_transformers_is_right_and_teaches_right(theirs, tmp_path, capfd):
    assert huggingface.load(theirs / "model").config.task.labels == ("Untrue", "real")
    sizes = {name: size for name, size in check.SIZES.items() if name != "embedding_size"} | {"layers": 1}
    changes = {f"model.{name}": size for name, size in sizes.items()} | {
        "model.activation": "gelu",
        "phases.lengths": (24,),
        "data.corpus": f"text:{theirs}/text.txt",
        "data.heldout": 0.3,
        "data.root": str(theirs / "root"),
        "data.tokenizer.vocab_size": 61,
        "task.name": "jsonl",
        "task.folder": str(theirs),
        "task.epochs": 0.0,
        "steps": 1,
        "parallel.devices": 1,
        "optimizer.learning_rate": 0.0,
        "evals.heldout.module": "task",
        "init.run": str(theirs / "model"),
        "init.fresh": (),
        "init.drop": (),
        "teacher.runs": (str(theirs / "model"),),
    }
    config = tinybert.get_config("4-312,prediction,smoke")
    config.update_from_flattened_dict(changes)
    result = train.train(config, tmp_path / "run")
    assert result["accuracy"] == pytest.approx(22 / 24)
    answers = (tmp_path / "run/predictions-heldout.tsv").read_text().splitlines()[1:]
    assert {line.split("\t")[1] for line in answers} == {"untrue"}
    # The teacher agrees with itself, and with the labels.
    assert result["soft_labels_agreement"] == 1 and result["soft_labels_accuracy"] == pytest.approx(22 / 24)
    said = capfd.readouterr().out
    for whose in ("init.run: ", "teacher "):
        assert f"{whose}{theirs}/model: rows of its classes are taken by name: real is row 1, untrue is row 0" in said
