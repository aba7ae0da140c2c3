"""The papers' recipes for fine-tuning: the numbers they print, and that each of them trains."""

import functools
import re
import shutil

import jax
import numpy as np
import pytest

from configs import distilbert, finetune, tinybert
from ssl_jax import objectives, tasks
from ssl_jax import train as loop
from ssl_jax.checks import settle
from ssl_jax.config import check_values
from ssl_jax.data import batches
from ssl_jax.distill.matching import map_layers
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.models.model import build_model, dummy_batch
from ssl_jax.optimizers import path_name, schedule, step_clock
from ssl_jax.options import flat
from ssl_jax.step import initial_params, make_corrupt
from tests.system.test_systems import take_steps
from tests.unit.test_batches import VOCABULARY
from tests.unit.test_distill import leave_run
from tests.unit.test_tasks import make_store, write_lines

# ALBERT, Table 14: learning rate, batch, dropout, the classifier's, steps, warm-up steps, length.
TABLE_14 = """
    cola   1e-5  16 0   .1  5336  320 512
    stsb   2e-5  16 0   .1  3598  214 512
    sst2   1e-5  32 0   .1 20935 1256 512
    mnli   3e-5 128 0   .1 10000 1000 512
    qnli   1e-5  32 0   .1 33112 1986 512
    qqp    5e-5 128 .1  .1 14000 1000 512
    rte    3e-5  32 .1  .1   800  200 512
    mrpc   2e-5  32 0   .1   800  200 512
    wnli   2e-5  16 .1  .1  2000  250 512
    squad  5e-5  48 0   .1  3649  365 384
    squad2 3e-5  48 0   .1  8144  814 512
    race   2e-5  32 .1  .1 12000 1000 512
"""
ROWS = {task: list(map(float, row)) for task, *row in map(str.split, TABLE_14.strip().splitlines())}


@pytest.mark.parametrize("task", ROWS)
def test_alberts_recipes_are_those_of_its_table(task):
    learning_rate, batch_size, dropout, classifier_dropout, steps, warmup, length = ROWS[task]
    config = finetune.get_config(f"albert-xxlarge,{task}")
    model = config.model
    assert (config.steps, config.batch_size, config.task.epochs) == (steps, batch_size, 0)
    assert (model.dropout, model.attention_dropout) == (dropout, dropout)
    assert config.task.dropout == classifier_dropout
    spans = task.startswith("squad")
    if spans:  # squad_utils.py, run_squad_v1.py and run_squad_v2.py
        losses = {"joint_span": 1.0, "answerable": 0.5} if task == "squad2" else {"span": 1.0}
        assert {name: weight for name, weight in config.losses.items() if weight} == losses
        assert (config.task.joint_span, config.task.n_best) == (("albert", 5) if task == "squad2" else ("electra", 20))
    assert build_model(config).options.dropout == classifier_dropout
    assert config.phases.lengths == (length,) and config.task.name == task
    assert model.pooler == ("none" if spans else "tanh")
    rate = schedule(config.optimizer, step_clock(config.steps))
    # Within the warm-up the rate grows by a step's share of the peak; at its end the decay takes over.
    assert float(rate(warmup - 1)) == pytest.approx(learning_rate * (warmup - 1) / warmup)
    assert float(rate(warmup)) == pytest.approx(learning_rate * (1 - warmup / steps))


def recipe(variant):
    config = finetune.get_config(variant)
    made = config.optimizer
    pooler = None if config.losses.span or config.losses.joint_span else config.model.pooler
    shape = (made.name, made.schedule, made.warmup, made.epsilon, made.weight_decay, pooler)
    return (made.learning_rate, config.batch_size, config.task.epochs, *config.phases.lengths), shape, config


BERT = ("bert_adam", "linear", 0.1, 1e-6, 0.01, "tanh")
ELECTRA = ("bert_adam", "linear_warmed", 0.1, 1e-6, 0.0, "plain")
RELEASE = ("bert_adam", "linear_warmed", 0.1, 1e-6, 0.01, "plain")
GPT = ("gpt1_adam", "linear_warmed", 0.002, 1e-8, 0.01, "plain")
RECIPES = {
    "bert-base,mnli": ((2e-5, 32, 3.0, 128), BERT, 1.0, 0),
    "bert-large,squad": ((5e-5, 32, 3.0, 384), BERT, 1.0, 0),
    "bert-large,squad2,release": ((5e-5, 48, 2.0, 384), BERT, 1.0, 0),
    "bert-large,swag": ((2e-5, 16, 3.0, 128), BERT, 1.0, 0),
    "distilbert-base,rte": ((2e-5, 32, 3.0, 128), BERT, 1.0, 0),
    "tinybert-4-312,squad": ((5e-5, 32, 3.0, 384), BERT, 1.0, 0),
    "albert-base,topics": ((2e-5, 32, 3.0, 128), BERT, 1.0, 0),
    "electra-small,mnli": ((3e-4, 32, 3.0, 128), ELECTRA, 0.8, 0),
    "electra-base,rte": ((1e-4, 32, 10.0, 128), ELECTRA, 0.8, 0),
    "electra-large,stsb": ((5e-5, 32, 10.0, 128), ELECTRA, 0.9, 0),
    "electra-small,squad": ((3e-4, 32, 2.0, 512), ELECTRA, 0.8, 0),
    "electra-large,squad2": ((5e-5, 32, 2.0, 512), ELECTRA, 0.9, 0),
    "electra-small,mnli,release": ((1e-4, 32, 3.0, 128), RELEASE, 0.8, 1),
    "electra-large,mnli,release": ((5e-5, 32, 3.0, 128), RELEASE, 0.9, 1),
    "gpt1-base,mnli": ((6.25e-5, 32, 3.0, 512), GPT, 1.0, 0),
    "gpt2-small,sst2": ((6.25e-5, 32, 3.0, 512), GPT, 1.0, 0),
}


# Of tasks whose examples are no texts with a class.
LOSSES = {"squad": "span", "swag": "choose", "stsb": "regress"}
ELECTRA_LOSSES = {"squad": {"joint_span": 1.0}, "squad2": {"joint_span": 1.0, "answerable": 0.5}}


@pytest.mark.parametrize("variant", RECIPES)
def test_the_other_papers_recipes(variant):
    numbers, shape, layer_decay, gap = RECIPES[variant]
    made, made_shape, config = recipe(variant)
    loss = next((loss for task, loss in LOSSES.items() if task in variant), "classify")
    assert (made, made_shape) == (numbers, (*shape[:-1], None) if loss == "span" else shape)
    assert (config.optimizer.layer_decay, config.optimizer.layer_decay_gap) == (layer_decay, gap)
    assert (config.model.dropout, config.model.attention_dropout) == (0.1, 0.1)
    assert (
        build_model(config).options.dropout == (0 if loss == "span" else 0.1) and config.optimizer.grad_clip_norm == 1
    )
    paper, task = variant.split(",")[0].split("-")[0], variant.split(",")[1]
    losses = {loss: 1} | ({"clm": 0.5} if config.model.causal else {})
    if paper == "electra" and task in ELECTRA_LOSSES:
        losses = ELECTRA_LOSSES[task]
        assert (build_model(config).options.beam, build_model(config).options.answerable) == (20, task == "squad2")
    assert {name: weight for name, weight in config.losses.items() if weight} == losses
    assert ("clm" in config.init.drop) != bool(config.losses.clm)
    assert ("pooler" in config.init.fresh) == variant.startswith("distilbert")


def test_distilberts_release_reads_classes_as_its_class_does():
    """DistilBertForSequenceClassification: pre_classifier, ReLU, seq_classif_dropout of 0.2, classifier."""
    for task, head, rate, pooler in (
        ("mnli", "classifier", 0.2, "relu"), ("stsb", "classifier", 0.2, "relu"), ("swag", "choice", 0.2, "relu"),
        ("squad", "span", 0.1, "none"), ("conll2003", "token_classes", 0.1, "none"),
    ):  # fmt: skip
        config = finetune.get_config(f"distilbert-base,{task},release")
        assert getattr(build_model(config).bind({}), head).dropout == rate and config.model.pooler == pooler
        assert config.model.dropped_sublayers == "ffn" and config.batch_size == recipe(f"distilbert-base,{task}")[0][1]
    assert recipe("distilbert-base,mnli")[2].model.pooler == "tanh"


PKD = {
    "bert-base,mnli,pkd6": {"classify": 0.3, "soft_labels": 0.7, "patience": 500.0},
    "bert-base,mnli,pkd6,release": {"classify": 0.3, "soft_labels": 70.0, "patience": 500.0},
    "bert-base,squad,pkd4": {"span": 0.3, "soft_span": 0.7, "patience": 500.0},
    "bert-base,stsb,pkd3": {"regress": 1.0, "patience": 500.0},
}


@pytest.mark.parametrize("variant", PKD)
def test_pkd_is_fine_tuning_from_the_first_layers_with_a_teacher(variant):
    """Section 4.2; the layers are section 3.2's PKD-Skip and PKD-Last, without the last one."""
    (learning_rate, batch_size, epochs, length), shape, config = recipe(variant)
    layers = int(re.search(r"pkd(\d)", variant)[1])
    assert (learning_rate, batch_size, epochs) == (1e-5, 32, 4.0) and length == (384 if "squad" in variant else 128)
    assert shape[:-1] == BERT[:-1]
    assert {name: weight for name, weight in config.losses.items() if weight} == PKD[variant]
    assert (config.model.layers, config.init.layers, config.init.run) == (
        layers,
        tuple(range(layers)),
        "runs/bert-base",
    )
    assert (config.teacher.temperature, config.teacher.mean_over_classes) == (10.0, "release" in variant)
    skip = {6: [2, 4, 6, 8, 10], 4: [3, 6, 9], 3: [4, 8]}[layers]
    assert map_layers(config.teacher.layer_map, layers, 12)[:-1] == skip
    assert map_layers("top", layers, 12)[:-1] == list(range(13 - layers, 12))


def test_what_pkd_cannot_compare_is_refused():
    with pytest.raises(UserError, match="unknown kind of tasks for pkd 'choices'"):
        finetune.get_config("bert-base,swag,pkd6")
    config = finetune.get_config("bert-base,mnli,pkd6")
    for key, value in (("layers", 1), ("causal", True)):
        wrong = config.copy_and_resolve_references()
        wrong.model[key] = value
        with pytest.raises(UserError, match="losses.patience reads .CLS. in every layer but the last"):
            settle(wrong)


def test_v2_of_albert_changes_race_alone():
    """README of google-research/albert: "a learning rate of 1e-5 and 0 ALBERT DR"; all else are v1's parameters."""
    for task in ("race", "mnli"):
        first, second = (dict(flat(finetune.get_config(f"albert-large,{task}{suffix}"))) for suffix in ("", ",v2"))
        changed = {key: value for key, value in second.items() if value != first[key] and key != "variant"}
        of_race = {"optimizer.learning_rate": 1e-5, "model.dropout": 0.0, "model.attention_dropout": 0.0}
        assert changed == (of_race if task == "race" else {})


@pytest.mark.parametrize("task, head", [("mnli", "classifier"), ("stsb", "classifier"), ("conll2003", "token_classes")])
def test_classes_and_scores_of_electras_release_start_as_tensorflows_dense(task, head):
    """tf.layers.dense: glorot uniform, within sqrt(6 / (inputs + outputs)); ours and BERT's: sd .02, cut at two sd."""
    for suffix, classes in (("", 3), (",release", 3)):
        config = finetune.get_config(f"electra-small,{task}{suffix}")
        config.model.update(layers=1, vocab_size=50)
        config.task.classes = classes
        model = build_model(config)
        params = jax.jit(model.init)(jax.random.key(0), dummy_batch())["params"]
        kernel = np.asarray(params[head]["dense"]["kernel"])
        assert kernel.shape == (256, classes) and not np.asarray(params[head]["dense"]["bias"]).any()
        most = np.sqrt(6 / (256 + classes)) if suffix else 0.04
        assert 0.9 * most < np.abs(kernel).max() <= most * 1.001
        # 768 numbers: five standard errors of a standard deviation are 13 % at most.
        assert kernel.std() == pytest.approx(most / np.sqrt(3) if suffix else 0.0176, rel=0.13)


def test_dropout_before_spans_is_the_papers():
    """ALBERT's Table 14; run_squad.py of BERT has none; DistilBERT's is that of its class."""
    for paper, variant, rate in (
        (finetune, "bert-large,squad", 0), (finetune, "bert-base,squad2", 0), (finetune, "albert-base,squad", 0.1),
        (finetune, "distilbert-base,squad", 0.1), (distilbert, "base,squad", 0.1),
        (tinybert, "4-312,prediction,squad", 0),
    ):  # fmt: skip
        assert build_model(paper.get_config(variant)).bind({}).span.dropout == rate, variant


def test_a_demo_keeps_its_length_and_smoke_its_steps():
    made, _, config = recipe("albert-demo,race")
    assert made == (5e-4, 16, 0.0, 64)
    made, _, config = recipe("albert-base,race,smoke")
    assert made == (1e-3, 8, 0.0, 64) and config.steps == 20


@pytest.mark.parametrize("rate, expected", [(-1.0, 0.2), (0.0, 0.0), (0.3, 0.3)])
def test_the_head_has_its_own_dropout_or_the_trunks(rate, expected):
    config = finetune.get_config("bert-tiny,topics,smoke")
    config.update_from_flattened_dict({"model.dropout": 0.2, "task.dropout": rate, "task.classes": 3})
    heads = {"classes": "classifier", "choice": "choice", "token_classes": "token_classes", "span": "span"}
    for head, name in heads.items():
        config.heads = (head,)
        assert getattr(build_model(config).bind({}), name).dropout == expected
    config.task.dropout = 1.0
    with pytest.raises(UserError, match="task.dropout=1.0: below 1"):
        check_values(config)


def test_the_language_model_is_trained_on_with_the_texts_own_tokens():
    """GPT-1, section 3.2: every token but the first of a row is asked for, of padding none."""
    config = finetune.get_config("gpt1-base,topics,smoke")
    store, texts = make_store(21)
    batch = make_corrupt(config, VOCABULARY)(batches.TaskEvaluation(store, VOCABULARY, 64, 8)(2))
    lengths = [min(64, 2 + len(a) + (len(b) + 1 if b else 0)) for a, b in texts[16:]] + [0] * 3
    assert np.asarray(batch["weights"]).sum(1).tolist() == [max(0, length - 1) for length in lengths]
    for row, length in enumerate(lengths):
        asked = np.asarray(batch["targets"])[row, : max(0, length - 1)]
        assert asked.tolist() == batch["tokens"][row, 1:length].tolist() and 0 not in asked
    # One mean over all of the batch's tokens.
    logits = np.random.default_rng(0).normal(size=(8, 64, VOCABULARY.size)).astype(np.float32)
    term = objectives.OBJECTIVES["clm"].loss({"clm_logits": logits}, batch)
    losses = [
        np.log(np.exp(logits[row, place].astype(float)).sum()) - logits[row, place, batch["tokens"][row, place + 1]]
        for row, length in enumerate(lengths) for place in range(length - 1)
    ]  # fmt: skip
    assert float(term.sum / term.weight) == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.fixture
def jsonl(tmp_path, data_root):
    """What makes a smoke config of the task 'jsonl' cheap; all papers share BERT's tokenizer, which has [CLS]."""
    lines = [{"text": f"the {word} of london .", "label": word} for word in ("city", "river")]
    for split in ("train", "heldout"):
        write_lines(tmp_path / f"{split}.jsonl", lines)
    return {"task.folder": str(tmp_path), "data.root": data_root, "data.tokenizer.kind": "wordpiece",
            "batch_size": 4, "model.layers": 1, "phases.lengths": (16,)}  # fmt: skip


@pytest.mark.parametrize("model", ["albert-base", "gpt2-small"])
def test_every_recipe_takes_a_step(model, jsonl):
    config = finetune.get_config(f"{model},jsonl,smoke")
    config.update_from_flattened_dict(jsonl)
    made = take_steps(tasks.resolve(config))
    assert made["loss"] == pytest.approx(sum(w * made[f"{name}_loss"] for name, w in config.losses.items() if w))
    assert made["classify_loss"] == pytest.approx(np.log(2), abs=0.3) and made["gradient_norm"] > 0


def test_parts_wait_and_stay_through_the_real_entry_point(jsonl, tmp_path):
    """ELECTRA's recipe over a mesh, from scratch: of 6 steps the layer moves in the last 3, the tables in the last."""
    config = finetune.get_config("electra-small,jsonl,smoke")
    changes = {"steps": 6, "run.log_every": 6, "run.evaluate_every": 6, "run.checkpoint_every": 3, "init.run": "none"}
    changes |= {"optimizer.unfreeze": 0.45, "optimizer.frozen": "embeddings/position|ffn"}
    changes |= {"optimizer.schedule": "constant", "optimizer.warmup": 0.0}
    changes |= {"parallel.mode": "mesh", "parallel.fsdp": 2, "parallel.tensor": 2}
    config.update_from_flattened_dict(jsonl | changes)
    loop.train(config, tmp_path / "run")
    for step, moving in ((6, "^(?!.*(position|ffn))"), (3, "^classifier")):
        run = load_run(tmp_path / "run")
        assert run.step == step and run.config.init.run == ""
        start = jax.jit(lambda: initial_params(run.model, config.seed))()  # noqa: B023
        moved = jax.tree.map(lambda a, b: (a != b).any(), start, run.params)
        for path, flag in jax.tree_util.tree_leaves_with_path(moved):
            assert flag == bool(re.search(moving, path_name(path))), (step, path_name(path))
        shutil.rmtree(tmp_path / f"run/checkpoints/{step}")


@pytest.mark.parametrize(
    "variant", ["bert-base,conll2003", "albert-base,mnli", "gpt1-base,stsb", "electra-small,squad"]
)
def test_the_feature_based_approach_has_a_frozen_trunk_and_two_bilstms(variant):
    plain, config = finetune.get_config(variant), finetune.get_config(f"{variant},features")
    task, model = config.task, config.model
    assert (task.features, task.lstm, task.lstm_size) == ("concat_last_four", 2, 768)
    assert (model.dropout, model.attention_dropout) == (0, 0) and config.losses.clm == 0
    assert build_model(config).options.dropout == build_model(plain).options.dropout  # before the classes it stays
    assert model.pooler == ("none" if plain.model.pooler == "none" else "plain") and "pooler" in config.init.drop
    assert config.optimizer.frozen == "^(embeddings|encoder)/" and "features" in config.init.fresh
    on_top = finetune.get_config(f"{variant},bilstm")
    assert (on_top.task.features, on_top.task.lstm, on_top.optimizer.frozen) == ("", 2, "")
    assert on_top.model.dropout == plain.model.dropout and on_top.losses == plain.losses
    small = finetune.get_config(f"{variant},features,smoke")
    assert small.task.lstm_size == 16 and small.task.lstm == 2


def test_seeds_are_as_many_as_the_paper_has():
    assert [finetune.get_config(f"{model},rte,seeds").seeds for model in ("electra-base", "albert-base", "distilbert-base")] == [
        10, 5, 5,
    ]  # fmt: skip
    assert finetune.get_config("electra-base,rte").seeds == 1
    with pytest.raises(UserError, match="unknown paper that says how many seeds it has 'bert'"):
        finetune.get_config("bert-base,rte,seeds")


TREE = "-DOCSTART- -X- -X- O\n\nlondon NNP B-NP B-LOC\nis VBZ B-VP O\n\nthe DT B-NP O\nriver NN I-NP B-ORG\n"


def test_features_of_another_run_stay_bit_for_bit_while_a_tagger_learns(data_root, tmp_path):
    """Through the entry point, from a run that has a tagger of its own: its trunk alone is taken."""
    for name in ("eng.train", "eng.testa"):
        (tmp_path / name).write_text(TREE)
    config = finetune.get_config("bert-tiny,conll2003,features,smoke")
    small = {"task.folder": str(tmp_path), "batch_size": 4, "phases.lengths": (16,), "steps": 2, "run.log_every": 2,
             "run.evaluate_every": 2, "optimizer.warmup": 0.0, "parallel.devices": 1, "data.root": data_root,
             "model.layers": 1, "task.epochs": 0.0}  # fmt: skip
    config.update_from_flattened_dict(small)
    config.init.run = leave_run(config, tmp_path / "first")
    result = loop.train(config, tmp_path / "second")
    assert result["loss"] == result["classify_tokens_loss"] < 2 * np.log(9)
    first, second = (load_run(tmp_path / name) for name in ("first", "second"))
    start = jax.jit(lambda: initial_params(second.model, second.config.seed))()
    assert set(start) == {"embeddings", "encoder", "features", "token_classes"}
    for path, x in jax.tree_util.tree_leaves_with_path(second.params):
        name = path_name(path)
        begun, before = (functools.reduce(lambda t, k: t[k.key], path, tree) for tree in (start, first.params))
        if name.startswith(("embeddings", "encoder")):
            np.testing.assert_array_equal(x, before, err_msg=name)
        else:
            assert 0 < np.abs(x - begun).max() < 0.01 < np.abs(x - before).max(), name


def test_rte_starts_from_a_run_on_mnli(data_root, tmp_path):
    """ALBERT, Table 14: trunk and pooler are the run's, the classes are new."""
    mnli = "index\tsentence1\tsentence2\tgold_label\n" + "".join(
        f"{n}\tit is {word} .\tit is not .\t{label}\n"
        for n, (word, label) in enumerate([("one", "entailment"), ("two", "neutral"), ("six", "contradiction")])
    )
    rte = "index\tsentence1\tsentence2\tlabel\n0\tit is one .\tit is .\tentailment\n1\tno .\tit is .\tnot_entailment\n"
    for name in ("train", "dev_matched", "dev_mismatched"):
        (tmp_path / "MNLI").mkdir(exist_ok=True)
        (tmp_path / f"MNLI/{name}.tsv").write_text(mnli)
    for name in ("train", "dev"):
        (tmp_path / "RTE").mkdir(exist_ok=True)
        (tmp_path / f"RTE/{name}.tsv").write_text(rte)
    small = {"data.root": data_root, "batch_size": 4, "phases.lengths": (16,), "steps": 1, "run.log_every": 1,
             "model.layers": 1, "parallel.devices": 1, "optimizer.warmup": 1.0}  # fmt: skip
    begun = finetune.get_config("albert-base,mnli,smoke")
    begun.update_from_flattened_dict(small | {"task.folder": str(tmp_path / "MNLI")})
    config = finetune.get_config("albert-base,rte,smoke")
    # The first step of a warm-up has a rate of 0: what was taken can be seen.
    start = {"task.folder": str(tmp_path / "RTE"), "init.run": leave_run(begun, tmp_path / "mnli")}
    config.update_from_flattened_dict(small | start)
    result = loop.train(config, tmp_path / "rte")
    assert {"accuracy", "score"} <= set(result)
    mnli, rte = (load_run(tmp_path / name).params for name in ("mnli", "rte"))
    classes = [params["classifier"]["dense"]["kernel"].shape[1] for params in (mnli, rte)]
    assert classes == [3, 2] and set(mnli) == set(rte) == {"embeddings", "encoder", "pooler", "classifier"}
    for part in ("embeddings", "encoder", "pooler"):
        jax.tree.map(np.testing.assert_array_equal, rte[part], mnli[part])
