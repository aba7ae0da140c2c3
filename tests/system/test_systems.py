"""Every paper's recipe, shrunk, through the real entry point; every objective on every kind of example."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from ssl_jax import experiment, predict
from ssl_jax.data import batches
from ssl_jax.errors import UserError
from ssl_jax.inference import generate
from ssl_jax.load import load_run
from ssl_jax.objectives import quotient
from ssl_jax.step import initial_state, make_corrupt, make_train_step
from ssl_jax.train import train
from tests.system.test_configs import ADDED, PAPERS


def kinds(value):
    """A config's values without the sizes of its numbers: what is left decides which parts of the code a run goes through."""
    if isinstance(value, dict):
        return {name: kinds(x) for name, x in value.items() if name != "variant"}
    if isinstance(value, list):
        return [kinds(x) for x in value]
    return value if isinstance(value, (bool, str)) else bool(value)


def different_smokes():
    """(paper, size) of the papers' sizes whose smoke configs differ in more than numbers above 0."""
    chosen = {}
    for paper, module in PAPERS.items():
        for size in module.SIZES:
            if size not in ("demo", "few", *ADDED.get(paper, ())):
                values = json.loads(module.get_config(f"{size},smoke").to_json())
                chosen.setdefault(json.dumps(kinds(values)), (paper, size))
    return list(chosen.values())


# The first size of each paper in both modes.
MODES = [(*smoke, "pmap") for smoke in different_smokes()]
MODES += [next((paper, size, "mesh") for other, size, _ in MODES if other == paper) for paper in PAPERS]


@pytest.mark.parametrize("paper, size, mode", MODES)
def test_every_papers_smoke_trains_in_both_modes(paper, size, mode, smoke_config, tmp_path):
    sizes = dict(fsdp=2, tensor=2) if mode == "mesh" else {}
    changes = [("parallel.mode", mode), *((f"parallel.{name}", n) for name, n in sizes.items())]
    changes += [("steps", 4), ("run.evaluate_every", 4), ("run.log_every", 2)]
    config = smoke_config(*changes, paper=paper, variant=f"{size},smoke")
    result = train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 4]
    for name, weight in config.losses.items():
        assert (f"{name}_loss" in result) == bool(weight)
    assert result["loss"] == pytest.approx(sum(w * result[f"{n}_loss"] for n, w in config.losses.items() if w))
    assert result["loss"] < 1.5 * sum(config.losses.values()) * np.log(512)
    if (paper, size, mode) in (("gpt2", "small", "mesh"), ("electra", "small", "mesh"), ("albert", "base", "pmap")):
        ask(load_run(tmp_path))


def ask(run):
    """What the demo shows of a finished run, whatever it learned."""
    ids = run.tokenizer.encode("the river flows into the sea", add_special_tokens=False).ids
    if run.config.losses.clm:
        assert len(generate.generate(run, [ids], max_tokens=5, temperature=0)[0]) <= 5
        return
    assert len(predict.fill_masks(run, "the river flows into the [MASK].")[0]) == 5
    # The parts around a blank are tokenized as they are in the whole sentence.
    whole = run.tokenizer.encode("the river flows into the sea.", add_special_tokens=False).ids
    parts = [predict.tokens_of_part(run.tokenizer, part) for part in ("the river flows into the ", ".")]
    assert whole[: len(parts[0])] == parts[0] and whole[-len(parts[1]) :] == parts[1]
    if run.config.losses.rtd:
        marked = [token for number in range(20) for token in predict.mark_replaced(run, ids, number)]
        assert len(marked) == 20 * len(ids)
        assert [token.original for token in marked[: len(ids)]] == [run.tokenizer.id_to_token(i) for i in ids]
        replaced = sum(token.shown != token.original for token in marked)
        assert 20 <= replaced <= 0.3 * len(marked)  # about one of 8 tokens, specials included, is chosen
    else:
        with pytest.raises(UserError, match="no discriminator"):
            predict.mark_replaced(run, ids)


UNIT = {"mlm": {}, "whole-word": {"corruption.unit": "word"}, "n-gram": {"corruption.unit": "ngram"}}
GENERATED = {"generator.kind": "transformer", "generator.size": 0.5}
TOKENS = {
    **{name: {"losses.mlm": 1.0, **changes} for name, changes in UNIT.items()},
    "all-tokens": {"losses.mlm": 0.0, "losses.all_tokens": 1.0},
    "rtd": {"losses.mlm": 1.0, "losses.rtd": 50.0, **GENERATED},
    "clm": {"losses.mlm": 0.0, "losses.clm": 1.0, "model.causal": True},
}
SENTENCES = {"nsp": {"losses.nsp": 1.0}, "sop": {"losses.nsp": 0.0, "losses.sop": 1.0}, "none": {"losses.nsp": 0.0}}
SPLITS = {"mlm": dict(rate=0.3, mask=1.0, random=0.0), "rtd": dict(rate=0.25, mask=0.85, random=0.0)}


def take_steps(config, number=1):
    """The loop's own parts without its files: losses and gradient norms by name after so many steps."""
    exp = experiment.open(config)
    pure = make_train_step(*exp.pure)
    step = jax.jit(lambda state, batch: pure(state, batch, total=lambda x: x, shard=lambda: 0))
    state = jax.jit(lambda: initial_state(exp.config, exp.model, exp.vocabulary))()
    for done in range(number):
        state, loss = step(state, exp.batch(done))
        assert np.isfinite(loss)
    return {name: quotient(*map(np.asarray, pair)) for name, pair in state["sums"].items()}


@pytest.mark.parametrize("sentences", SENTENCES)
@pytest.mark.parametrize("objective", TOKENS)
def test_every_objective_with_every_pair_from_one_corpus(objective, sentences, smoke_config):
    split = {f"corruption.{name}": value for name, value in SPLITS.get(objective, {}).items()}
    changes = TOKENS[objective] | SENTENCES[sentences] | split
    config = smoke_config(*changes.items(), ("model.layers", 1))
    result = take_steps(config)
    trained = {name for name, weight in config.losses.items() if weight}
    assert trained == {name.removesuffix("_loss") for name in result if name.endswith("_loss")}
    assert result["gradient_norm"] > 0


def test_ablations_are_flags_of_the_real_entry_point(root, data_root, tmp_path):
    flags = ("model.share=attention", "losses.sop=0", "corruption.unit=word", "steps=2", "evals.heldout.max_batches=1")
    command = [
        sys.executable, root / "scripts/train.py", f"--config={root}/configs/albert.py:base,smoke", f"--workdir={tmp_path}",
        f"--config.data.root={data_root}", *(f"--config.{flag}" for flag in flags),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mlm_loss" in done.stdout and "sop" not in done.stdout
    config = json.loads((tmp_path / "config.json").read_text())["config"]
    assert config["model"]["share"] == "attention" and config["corruption"]["unit"] == "word"


@pytest.mark.parametrize("trained, asked", [("sop", "nsp"), ("nsp", "sop")])
def test_a_head_of_pairs_is_asked_about_the_others(trained, asked, smoke_config, tmp_path):
    """ALBERT, Table 5: a classifier of order on next sentences, and the reverse; counted here one example at a time."""
    changes = {"losses.nsp": 0.0, "losses.sop": 0.0, f"losses.{trained}": 1.0, "steps": 2, "model.layers": 1}
    config = smoke_config(*changes.items(), paper="albert", variant="base,smoke")
    for pairs in ("nsp", "sop"):
        config.evals[pairs] = dict(module="mean", pairs=pairs, at_end=True)
    result = train(config, tmp_path)
    assert result[f"{trained}/{trained}_accuracy"] == result[f"{trained}_accuracy"]
    run, length = load_run(tmp_path), config.phases.lengths[0]
    exp = experiment.open(config)
    options = dict(length=length, batch_size=config.batch_size, seed=config.seed, short=config.data.short_seq_prob)
    examples = batches.PairEvaluation(exp.stores["heldout"], exp.vocabulary, pairs=asked, **options)
    corrupt = make_corrupt(exp.config, exp.vocabulary)
    logits = jax.jit(lambda batch: run.model.apply({"params": run.params}, corrupt(batch))["pair_logits"])
    right = []
    for step in range(examples.steps):
        batch = examples(step)
        real = batch["mask"].any(1)
        right += ((np.asarray(logits(batch)).argmax(1) == 1) == batch["pair"])[real].tolist()
    assert len(right) == len(examples.examples) > 50
    assert result[f"{asked}/{trained}_accuracy"] == pytest.approx(np.mean(right))
    for pairs in ("nsp", "sop"):  # by one name, whichever loss is trained
        assert result[f"{pairs}/pair_accuracy"] == result[f"{pairs}/{trained}_accuracy"]
        assert result[f"{pairs}/pair_chance"] == result[f"{pairs}/{trained}_chance"]
    config.losses[trained] = 0.0
    with pytest.raises(UserError, match="^evals.nsp.pairs=nsp asks a head of pairs: set losses.nsp or losses.sop$"):
        experiment.open(config)


ELECTRA_STUDIES = {
    "ELECTRA 15 %": {"losses.rtd": 0.0, "losses.rtd_masked": 50.0},
    "Replace MLM": {"losses.rtd": 0.0, "losses.replaced_mlm": 1.0},
    "All-Tokens MLM": {"losses.rtd": 0.0, "losses.all_tokens": 1.0},
    "MLM only": {"losses.rtd": 0.0, "generator.kind": "none"},
    "unigram generator": {"losses.mlm": 0.0, "generator.kind": "unigram"},
    "uniform generator": {"losses.mlm": 0.0, "generator.kind": "uniform"},
    "untied": {"generator.tying": "none"},
    "all tied": {"generator.tying": "all", "generator.size": 1.0},
    "adversarial": {"losses.mlm": 0.0, "losses.adversarial": 1.0},
    "two-stage": {"generator.first_stage": 0.5, "generator.tying": "none", "generator.size": 1.0,
                  "model.embedding_size": 0, "model.heads": 1},
}  # fmt: skip


@pytest.mark.parametrize("study", ELECTRA_STUDIES)
def test_every_objective_of_electras_studies_trains(study, smoke_config):
    changes = [*ELECTRA_STUDIES[study].items(), ("steps", 4), ("model.layers", 1)]
    config = smoke_config(*changes, paper="electra", variant="small,smoke")
    result = take_steps(config, 3)
    for name, weight in config.losses.items():
        assert (f"{name}_loss" in result) == bool(weight)


MISFITS = [
    ({"losses.rtd": 50.0}, "losses.rtd needs tokens that a generator replaced"),
    ({"generator.kind": "transformer"}, "no loss reads the discriminator"),
    ({"generator.kind": "unigram", "losses.rtd": 1.0}, "a unigram generator has nothing to train: set losses.mlm=0"),
    ({**GENERATED, "losses.rtd": 1.0, "losses.mlm": 0.0}, "the generator is not trained"),
    ({**GENERATED, "losses.rtd": 1.0, "generator.tying": "all"}, "needs a generator of the same shape"),
    ({**GENERATED, "losses.rtd": 1.0, "generator.first_stage": 0.5}, "starts from the generator's weights"),
    ({"losses.clm": 1.0}, "set model.causal=True"),
    ({"losses.clm": 1.0, "model.causal": True}, "losses.clm reads the text as it is, mlm a corrupted one"),
    ({"losses.sop": 1.0}, "losses.nsp and losses.sop label the same pairs"),
    ({"data.examples": "windows"}, "losses.nsp needs sentence pairs"),
    ({"data.document_mask": True}, "data.document_mask is about windows"),
    (
        {"data.static_masks": True, "data.examples": "windows", "losses.nsp": 0.0},
        "static_masks is about pairs and single",
    ),
    ({"data.static_masks": True, "teacher.cache": "cache"}, "data.static_masks repeats them: no cache"),
    ({"evals.nsp": {"module": "mean", "pairs": "nsp"}, "losses.nsp": 0.0}, "evals.nsp.pairs=nsp asks a head of pairs"),
    (
        {"evals.sop": {"module": "mean", "pairs": "sop"}, "teacher.cache": "cache"},
        "teacher.cache has not read these pairs",
    ),
    ({"data.examples": "task"}, "losses.nsp needs sentence pairs"),
    ({"data.examples": "task", "losses.nsp": 0.0, "data.document_mask": True}, "data.document_mask is about windows"),
    ({"losses.classify": 1.0}, "losses.classify needs a task of classification"),
    ({"corruption.rate": 0.0}, "losses.mlm asks for hidden tokens: set corruption.rate above 0"),
    ({"task.epochs": -1.0}, "task.epochs=-1.0: at least 0"),
    ({"model.pooler": "none"}, "set model.pooler=tanh"),
    ({"model.local_window": 4}, "it needs model.causal=True"),
    ({"model.share_groups": 3}, "model.share_groups=3 of 2 layers"),
    ({"model.share": "al"}, "unknown model.share 'al'; did you mean 'all'"),
    ({"generator.kind": "transfromer"}, "unknown generator.kind 'transfromer'; did you mean 'transformer'"),
    ({"ramp.start": 8, "ramp.share": 0.5}, "ramp.start=8 needs a single one of phases.lengths"),
    ({"optimizer.clock": "token"}, "unknown optimizer.clock 'token'; did you mean 'tokens'"),
    ({"optimizer.name": "adam"}, "unknown optimizer.name 'adam'"),
    ({"optimizer.schedule": "cosin"}, "unknown optimizer.schedule 'cosin'; did you mean 'cosine'"),
    ({"corruption.unit": "words"}, "unknown corruption.unit 'words'; did you mean 'word'"),
    ({"corruption.unit": "word", "corruption.with_replacement": True}, "with_replacement"),
]


@pytest.mark.parametrize("number", range(len(MISFITS)))
def test_what_does_not_fit_is_refused_with_one_line(number, smoke_config, tmp_path):
    changes, message = MISFITS[number]
    with pytest.raises(UserError, match=message) as error:
        train(smoke_config(*changes.items()), tmp_path)
    assert "\n" not in str(error.value)
    assert not list((tmp_path).glob("checkpoints/*"))


def test_a_tokenizer_without_masks_is_refused_for_masking(smoke_config, tmp_path):
    changes = {"losses.clm": 0.0, "losses.mlm": 1.0, "model.causal": False}
    with pytest.raises(UserError, match="the tokenizer has no token for mask"):
        train(smoke_config(*changes.items(), paper="gpt2", variant="small,smoke"), tmp_path)
