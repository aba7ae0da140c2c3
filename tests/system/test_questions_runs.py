"""Runs on questions: tasks take turns, what is answered is measured and written, and runs resume, whatever answers."""

import json

import jax
import numpy as np
import pytest

from configs import decanlp
from ssl_jax import checks, experiment, tasks
from ssl_jax.errors import UserError
from ssl_jax.inference.answers import answer
from ssl_jax.load import load_run
from ssl_jax.train import train
from tests.conftest import final_params

SHORT = {
    "questions.max_heldout": 12,
    "data.max_examples": 48,
    "evals.heldout.max_length": 4,
    "steps": 4,
    "run.log_every": 1,
    "run.checkpoint_every": 2,
    "run.evaluate_every": 4,
}


@pytest.fixture
def make(data_root):
    def config(variant="s2s", **changes):
        found = decanlp.get_config(f"{variant},smoke")
        found.data.root = data_root
        found.questions.tasks = ("pronouns", "dialogue")
        found.update_from_flattened_dict(SHORT | {"parallel.devices": 1} | changes)
        return found

    return config


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return np.array([line["loss"] for line in lines])


TRUNKS = {
    "mqan": {},
    "gpt2-tiny": {"data.tokenizer.vocab_size": 300, "questions.lengths": (192,), "model.max_positions": 192, "questions.tokens": 3072},
    "bert-tiny": {"data.tokenizer.vocab_size": 300, "questions.lengths": (128,), "model.max_positions": 128, "questions.tokens": 2048},
}  # fmt: skip


@pytest.mark.parametrize("suffixes", ["", ",smoke", ",anti", ",anti,smoke"])
@pytest.mark.parametrize("trunk", ["gpt2-small", "gpt3-small", "bert-base", "albert-base", "electra-small"])
def test_every_trunk_is_a_config(trunk, suffixes):
    config = checks.settle(decanlp.get_config(trunk + suffixes))
    assert config.phases.lengths == (max(config.questions.lengths),) and config.batch_size >= config.questions.multiple


@pytest.mark.parametrize("trunk", TRUNKS)
def test_any_trunk_answers_and_its_answers_are_measured_and_written(trunk, make, tmp_path):
    names = ("pronouns",) if trunk == "bert-tiny" else ("pronouns", "dialogue")  # states are no spans
    config = make(trunk, **TRUNKS[trunk] | {"questions.tasks": names})
    result = train(config, tmp_path)
    assert np.isfinite(losses(tmp_path)).all()
    assert result["score"] == pytest.approx(np.mean([result[f"{n}_{tasks.ASKED[n].question.metric}"] for n in names]))
    run = load_run(tmp_path)
    for name in names:
        lines = [json.loads(line) for line in (tmp_path / "answers" / f"{name}.heldout.jsonl").read_text().splitlines()]
        assert 0 < len(lines) <= 12 and 0 <= result[f"{name}_baseline"] <= 1
        right = [line["prediction"].lower().split() == line["answers"][0].lower().split() for line in lines]
        assert result[f"{name}_em"] == pytest.approx(np.mean(right))
        # The same from the folder alone, without the answers.
        qas = [tasks.QA(line["question"], line["context"], ()) for line in lines]
        assert answer(run, qas, max_length=4) == [line["prediction"] for line in lines]


def test_devices_accumulation_and_a_stop_change_nothing(make, tmp_path):
    train(make(), tmp_path / "one")
    one = losses(tmp_path / "one")
    for name, changes in {"two": {"parallel.devices": 2}, "parts": {"run.accumulate": 4}}.items():
        train(make(**changes), tmp_path / name)
        np.testing.assert_allclose(losses(tmp_path / name), one, rtol=2e-5)
        for task in ("pronouns", "dialogue"):  # every answer is its own question's, whoever gave it
            path = f"answers/{task}.heldout.jsonl"
            assert (tmp_path / name / path).read_text() == (tmp_path / "one" / path).read_text()
    # Steps 0 and 1 again, from the checkpoint after them.
    resumed = tmp_path / "one"
    final = final_params(resumed)
    (resumed / "checkpoints" / "4").rename(tmp_path / "away")
    (resumed / "result.json").unlink()
    train(make(), resumed)
    jax.tree.map(np.testing.assert_array_equal, final, final_params(resumed))


def test_tasks_that_were_not_trained_on_are_asked_too(make, tmp_path):
    config = make()
    config.evals.transfer = dict(
        module="answers", split="heldout", tasks=("phrases_en_de",), max_batches=1, max_length=4, at_end=True
    )
    train(config, tmp_path)
    last = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()][-1]
    assert {"phrases_en_de_bleu", "phrases_en_de_baseline"} <= last.keys()
    assert (tmp_path / "answers" / "phrases_en_de.heldout.jsonl").exists()


def test_word_vectors_of_a_file_are_read_and_stay_as_they_are(make, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(
        "".join(f"{word} {number / 10} -1 2\n" for number, word in enumerate(("the", "who", ",", "because")))
    )
    config = make(**{"questions.vectors": (str(path),), "steps": 2})
    train(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.params["vectors"].shape[1] == 3 and run.config.mqan.vectors_frozen
    for number, word in enumerate(("the", "who", ",", "because")):
        row = run.tokenizer.token_to_id(word if word != "," else ",\u2581")
        np.testing.assert_allclose(run.params["vectors"][row], [number / 10, -1, 2], rtol=1e-6)
    assert not np.asarray(run.params["vectors"][1]).any()  # of a word without a vector


def test_an_anti_curriculum_begins_with_one_task(make):
    config = make(**{"mixture.schedule": ("0.5:dialogue",), "steps": 8})
    exp = experiment.open(config)
    question = exp.tokenizer.encode("what is the change in state?", add_special_tokens=False).ids
    asked = []
    for step in range(8):
        batch = exp.batch(step)
        asked.append(batch["question"][0][batch["question_mask"][0]].tolist() == question)
    assert asked == [True] * 4 + [False, True] * 2


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"questions.tasks": ()}, "name the tasks"),
        ({"questions.tasks": ("pronouns", "pronouns")}, "each task once"),
        ({"questions.tasks": ("pronuons",)}, "pronouns"),
        ({"questions.folders": ("sst=here",)}, "sst"),
        ({"questions.folders": ("here",)}, "TASK=FOLDER"),
        ({"questions.multiple": 3, "run.accumulate": 2}, "questions.multiple=3"),
        ({"questions.lengths": (8,)}, "no examples left"),
        ({"questions.tasks": ("sst",)}, "task.folder|questions.folders"),
        ({"losses.clm": 1.0}, "one loss of answer, clm, span"),
        ({"losses.answer": 0.0, "losses.clm": 1.0}, "go together"),
        ({"data.tokenizer.kind": "wordpiece"}, "kind=words"),
        ({"seeds": 2}, "run.together=False"),
        ({"mixture.schedule": ("0.5:sst",)}, "sst"),
        ({"evals.heldout.tasks": ("lambada",)}, "lambada"),
        ({"questions.lengths": ()}, "questions.lengths"),
        ({"questions.tokens": 100}, "questions.tokens=100"),
        ({"mqan.cove": True}, "mqan.cove"),
        ({"evals.heldout.folders": ("sst=here",)}, "evals.heldout.tasks"),
    ],
)
def test_what_does_not_fit_is_one_line(changes, message, make):
    with pytest.raises(UserError, match=message) as error:
        experiment.open(make(**changes))
    assert "\n" not in str(error.value)
