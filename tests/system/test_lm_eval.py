"""The harness with a run as its model: the numbers of our own calls, and of its own model on the same weights."""

import json
import os
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

from configs.fewshot import get_config
from ssl_jax import evaluate, runs
from ssl_jax.errors import UserError
from ssl_jax.evaluators import fewshot
from ssl_jax.inference import lm_eval, scoring
from ssl_jax.interop import check, huggingface
from ssl_jax.load import load_run
from ssl_jax.tasks.base import Item, Prompt
from tests.unit.test_scoring import TEXT, run_of

CHOICES = [
    {"question": "the quick brown", "choices": ["fox", "dog jumps", "wizards"], "gold": 1},
    {"question": "over the lazy", "choices": ["dog", "fox"], "gold": 0},
    {"question": "the five boxing wizards jump", "choices": ["quickly;", "over", "the dog"], "gold": 2},
]
TEXTS = [{"text": "the quick brown fox"}, {"text": TEXT}, {"text": "jump quickly"}]
PROMPTS = [{"text": "the quick b", "answer": "x"}, {"text": TEXT, "answer": "y"}, {"text": "over the", "answer": "z"}]
TASKS = {
    "tiny_choices": (
        CHOICES,
        dict(
            output_type="multiple_choice", doc_to_text="{{question}}", doc_to_target="gold", doc_to_choice="choices",
            metric_list=[dict(metric="acc"), dict(metric="acc_norm")],
        ),
    ),
    "tiny_texts": (
        TEXTS,
        dict(
            output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="{{text}}",
            metric_list=[dict(metric="word_perplexity"), dict(metric="bits_per_byte")],
        ),
    ),
    "tiny_texts_generated": (
        PROMPTS,
        dict(
            output_type="generate_until", doc_to_text="{{text}}", doc_to_target="{{answer}}",
            generation_kwargs=dict(until=["O"], max_gen_toks=6, do_sample=False),
            metric_list=[dict(metric="exact_match")],
        ),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tasks as the harness reads them, and the weights of a run as a folder of transformers."""
    root = tmp_path_factory.mktemp("harness")
    huggingface.save(run_of("gpt2"), root / "theirs")
    for name, (records, task) in TASKS.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        files = dict(dataset_path="json", dataset_kwargs=dict(data_files=dict(test=str(root / f"{name}.jsonl"))))
        (root / f"{name}.yaml").write_text(yaml.dump(dict(task=name, test_split="test", **files, **task)))
    return root


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)


def ask_the_harness(folders, model, arguments):
    manager = TaskManager(include_path=str(folders), include_defaults=False)
    found = simple_evaluate(
        model, arguments, list(TASKS), task_manager=manager, bootstrap_iters=0, batch_size=2, verbosity="ERROR"
    )
    said = {name: [sample["filtered_resps"] for sample in samples] for name, samples in found["samples"].items()}
    return found["results"], said


def test_the_numbers_are_ours_and_those_of_its_own_model(folders, offline):
    results, said = ask_the_harness(folders, "ssl_jax", f"workdir={folders / 'theirs'}")
    theirs, they_said = ask_the_harness(folders, "hf", f"pretrained={folders / 'theirs'},device=cpu,dtype=float32")
    for name, metrics in theirs.items():
        for metric, value in metrics.items():
            if isinstance(value, float):
                assert results[name][metric] == pytest.approx(value, rel=1e-4), (name, metric)
    assert said["tiny_texts_generated"] == they_said["tiny_texts_generated"]

    run = load_run(folders / "theirs")
    pairs = [(one["question"], f" {choice}") for one in CHOICES for choice in one["choices"]]
    ours = [(one.total, one.greedy) for one in scoring.log_likelihoods(run, pairs)]
    for other in (said, they_said):
        flat = [tuple(answer) for answers in other["tiny_choices"] for answer in answers]
        assert [greedy for _, greedy in flat] == [greedy for _, greedy in ours]
        np.testing.assert_allclose([total for total, _ in flat], [total for total, _ in ours], atol=1e-4)
    # And what our own evaluation makes of the same questions.
    for name, metric in (("sum", "acc,none"), ("characters", "acc_norm,none")):
        prompt = Prompt("choices", question, ("accuracy",), normalise=name)
        asked = fewshot.compose(run, prompt, {"heldout": CHOICES})
        value = fewshot.measure(prompt, fewshot.answer(run, prompt, asked))["accuracy"]
        assert value == pytest.approx(results["tiny_choices"][metric])
    whole = Prompt("perplexity", read_through, ("perplexity",), unit="word")
    asked = fewshot.compose(run, whole, {"heldout": TEXTS})
    (value,) = fewshot.measure(whole, fewshot.answer(run, whole, asked)).values()
    assert value == pytest.approx(results["tiny_texts"]["word_perplexity,none"], rel=1e-4)
    texts = [one.total for one in scoring.rolling(run, [one["text"] for one in TEXTS])]
    for other in (said, they_said):
        np.testing.assert_allclose(np.ravel(other["tiny_texts"]).astype(float), texts, rtol=1e-4)
    # The long one lost its beginning.
    prompts = [scoring.encode(run, one["text"])[-18:] for one in PROMPTS]
    made = scoring.continue_until(run, prompts, stop=["O"], max_tokens=6)
    assert [answer for answers in said["tiny_texts_generated"] for answer in answers] == made


def question(record):
    return Item(record["question"], tuple(f" {choice}" for choice in record["choices"]), record["gold"])


def read_through(record):
    return Item("", (record["text"],), units=len(re.split(r"\s+", record["text"])))


def requests(kind, *arguments):
    return [Instance(kind, {}, one, number) for number, one in enumerate(arguments)]


def test_generation_asks_for_what_the_task_says(folders):
    # As the command makes it.
    made = dict(workdir=str(folders / "theirs"), max_gen_toks=3)
    model = lm_eval.HarnessModel.create_from_arg_obj(made, dict(batch_size="4", max_batch_size=None, device="cuda:0"))
    prompts = ["the quick b", "lazy dog", "over the"]
    sampled = dict(do_sample=True, temperature=2.0, max_gen_toks=5)
    searched = dict(num_beams=2, length_penalty=1.0)
    asked = [{}, sampled, searched, sampled, dict(until="O", temperature=0.0, num_beams=1)]
    got = model.generate_until(requests("generate_until", *zip([*prompts, *prompts], asked)))
    ours = scoring.generate_until
    assert got[0] == ours(model.run, prompts[:1], max_tokens=3)[0]
    assert [got[1], got[3]] == ours(model.run, [prompts[1], prompts[0]], max_tokens=5, temperature=2.0)
    assert got[2] == ours(model.run, prompts[2:], max_tokens=3, beams=2, length_penalty=1.0)[0]
    assert got[4] == ours(model.run, prompts[1:2], max_tokens=3, stop=["O"])[0]
    for asked, message in ((dict(repetition_penalty=2.0), "unknown generation_kwargs 'repetition_penalty'"),
                           (dict(max_gen_toks=24), "max_gen_toks=24 leaves no room")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            model.generate_until(requests("generate_until", ("a", asked)))
    with pytest.raises(UserError, match="batch_size=auto"):
        lm_eval.HarnessModel(str(folders / "theirs"), batch_size="auto")


def test_texts_run_together_unless_the_command_says_how_many(folders, monkeypatch):
    rows, read = [], scoring.read

    def counted(model, params, *, head, **batch):
        rows.append(len(batch["tokens"]))
        return read(model, params, head=head, **batch)

    monkeypatch.setattr(scoring, "read", counted)
    pairs = [("the quick brown", f" {word} dog") for word in "fox lazy wizards jump quickly over five boxing".split()]
    asked, found = requests("loglikelihood", *pairs), {}
    # 1 is what the command itself gives, as a number or in letters.
    for size, wanted in ((1, {8}), ("1", {8}), ("2", {2})):
        rows.clear()
        model = lm_eval.HarnessModel.create_from_arg_obj(dict(workdir=str(folders / "theirs")), dict(batch_size=size))
        found[size], sizes = model.loglikelihood(asked), set(rows)
        assert sizes == wanted
    alone = [(one.total, one.greedy) for one in scoring.log_likelihoods(model.run, pairs, batch_size=1)]
    for made in found.values():
        assert [greedy for _, greedy in made] == [greedy for _, greedy in alone]
        np.testing.assert_allclose([total for total, _ in made], [total for total, _ in alone], rtol=1e-6)
    with pytest.raises(UserError, match="batch_size=0: a number from 1"):
        lm_eval.HarnessModel(str(folders / "theirs"), batch_size=0)


def test_encoders_choose_and_have_no_perplexity(tmp_path):
    check.FOLDERS["ElectraForPreTraining"](tmp_path)
    model = lm_eval.HarnessModel(str(tmp_path))
    pairs = [("a b", " c"), ("a b", " d e")]
    ours = scoring.discriminator_log_likelihoods(model.run, pairs, batch_size=16)
    assert model.loglikelihood(requests("loglikelihood", *pairs)) == [(one.total, one.greedy) for one in ours]
    with pytest.raises(UserError, match="not a causal language model"):
        model.loglikelihood_rolling(requests("loglikelihood_rolling", ("a b",)))


def test_lm_eval_itself_finds_the_model_by_our_task_files(root, data_root, tmp_path):
    run = run_of("gpt2", 256)
    run.config.data.update(root=data_root, max_documents=300, heldout=0.1)
    runs.save_run(run, tmp_path / "run", "nowhere")
    command = [sys.executable, "-m", "lm_eval", "--model", "ssl_jax", "--model_args", f"workdir={tmp_path / 'run'}"]
    command += [
        "--tasks",
        "configs/harness",
        "--limit",
        "5",
        "--batch_size",
        "8",
        "--output_path",
        str(tmp_path / "out"),
    ]
    offline = os.environ | {"HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path)}
    done = subprocess.run(command, cwd=root, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(path.read_text())["results"]
    config = get_config("topic:sum,title:title")
    config.update(dict(runs=(str(tmp_path / "run"),), shots=(0,), limit=5))
    topic, _ = evaluate.evaluate(config, tmp_path / "ours", lambda line: None)
    assert results["ssl_jax_topic"]["acc,none"] == topic["value"] and "acc_norm,none" in results["ssl_jax_title"]


def test_the_command_is_the_harness_with_our_model(root, monkeypatch):
    met = []
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: met.append(get_model("ssl_jax")))
    runpy.run_path(str(root / "scripts/harness.py"), run_name="__main__")
    assert met == [lm_eval.HarnessModel]

    def refuse():
        raise UserError("one line")

    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", refuse)
    with pytest.raises(SystemExit, match="^error: one line$"):
        runpy.run_path(str(root / "scripts/harness.py"), run_name="__main__")
    monkeypatch.setitem(sys.modules, "lm_eval.__main__", None)
    with pytest.raises(SystemExit, match="^error: the harness needs lm_eval.*harness"):
        runpy.run_path(str(root / "scripts/harness.py"), run_name="__main__")
