"""A run that starts from another: what is taken, what only a list allows, what is told, and whose tokenizer it is."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
import tokenizers as library

from configs import albert, bert, distilbert, electra, finetune, gpt1, gpt2, tinybert
from ssl_jax import files, start, train
from ssl_jax import source as origin
from ssl_jax.data import tokens
from ssl_jax.errors import UserError
from ssl_jax.experiment import make_fingerprint
from ssl_jax.load import load_run, read_config
from ssl_jax.models.model import build_model
from ssl_jax.models.spec import TRAINED
from ssl_jax.models.transformer import TransformerConfig
from ssl_jax.optimizers import schedule, step_clock
from tests.parity.test_five_steps import make_config, make_params
from tests.unit.test_distill import assert_equal, leave_run, shrink


def run_of(module, variant, **changes):
    config = make_config(module, variant, changes)
    model = build_model(config)
    return SimpleNamespace(model=model, workdir=Path("a"), params=make_params(config, model, 1))


def begin(source, module, variant, **changes):
    """`start_from` into a new model: its initial parameters, those it starts with, and the lines."""
    config = make_config(module, variant, changes)
    model = build_model(config)
    params = make_params(config, model)
    return params, *start.start_from(params, model, source, config)


def test_distilbert_starts_from_half_of_its_teachers_layers():
    layers = distilbert.get_config("base").init.layers
    assert layers == (0, 2, 4, 7, 9, 11)
    teacher = run_of(bert, "tiny,smoke", **{"model.layers": 12})
    _, made, lines = begin(teacher, distilbert, "base,smoke", **{"model.layers": 6, "init.layers": layers})
    chosen = jax.tree.map(lambda x: x[list(layers)], teacher.params["encoder"]["layers"])
    assert_equal(made["encoder"]["layers"], chosen)
    for part in ("token", "position", "norm"):
        assert_equal(made["embeddings"][part], teacher.params["embeddings"][part])
    assert_equal(made["mlm"], teacher.params["mlm"])
    assert lines == [
        "starts from a: embeddings, encoder (layers 0, 2, 4, 7, 9, 11), mlm; "
        "left out: embeddings/segment, pair, pooler",
        "runs otherwise: activation gelu, there gelu_tanh",
    ]


def test_the_first_layers_are_anothers_and_the_others_start_anew():
    """GPT-1, Figure 2, left: the first k blocks are transferred, for every k."""
    source, changes = run_of(gpt1, "tiny,smoke", **{"model.layers": 3}), {"model.layers": 3, "init.layers": (0, 1)}
    params, made, lines = begin(source, gpt1, "tiny,smoke", **changes)
    taken, initial, layers = (x["encoder"]["layers"] for x in (source.params, params, made))
    assert_equal(jax.tree.map(lambda x: x[:2], layers), jax.tree.map(lambda x: x[:2], taken))
    assert_equal(jax.tree.map(lambda x: x[2:], layers), jax.tree.map(lambda x: x[2:], initial))
    assert_equal(made["embeddings"], source.params["embeddings"])
    assert lines == ["starts from a: embeddings, encoder (layers 0, 1); anew: encoder (layers from 2 on)"]
    # k = 0, the embeddings alone.
    none = {"init.layers": (), "init.drop": ("encoder",), "init.fresh": ("encoder",)}
    _, made, lines = begin(source, gpt1, "tiny,smoke", **changes | none)
    assert_equal(made["encoder"], params["encoder"])
    assert lines == ["starts from a: embeddings; anew: encoder; left out: encoder"]


def test_shared_layers_become_each_layers_own():
    teacher = run_of(albert, "base,smoke", **{"model.layers": 4, "model.share_groups": 2})
    changes = {"model.layers": 3, "model.embedding_size": 16, "losses.nsp": 0.0, "model.norm": "pre"}
    changes |= {"init.layers": (3, 0, 1), "init.drop": ("pair",)}
    _, made, lines = begin(teacher, bert, "tiny,smoke", **changes)
    groups = [1, 0, 0]  # of layers 3, 0 and 1 of four in two groups
    assert_equal(made["encoder"]["layers"], jax.tree.map(lambda x: x[groups], teacher.params["encoder"]["layers"]))
    assert_equal(made["encoder"]["projection"], teacher.params["encoder"]["projection"])
    assert lines == [
        "starts from a: embeddings, encoder (layers 3, 0, 1), mlm, pooler; left out: pair",
        "runs otherwise: share none, there all; share_groups 1, there 2; norm pre, there post",
    ]
    # Layers that share go on sharing, at any depth (ALBERT, Table 11: "initialised from the depth before").
    for depth in (2, 7):
        _, made, lines = begin(teacher, albert, "base,smoke", **{"model.layers": depth, "model.share_groups": 2})
        assert_equal(made, teacher.params)
        assert lines[1:] == [f"runs otherwise: layers {depth}, there 4"]
    with pytest.raises(UserError, match="a has 4 layers and model.layers=7; say which of them with init.layers"):
        begin(teacher, albert, "base,smoke", **{"model.layers": 7, "model.share_groups": 1})
    with pytest.raises(UserError, match="a has 4 layers and model.layers=7; say which of them with init.layers"):
        begin(teacher, albert, "base,smoke", **{"model.layers": 7, "model.share_groups": 2, "model.share": "attention"})
    # And so they do at the same depth.
    same = {"model.layers": 4, "model.share_groups": 2, "model.pooler": "gelu"}
    _, made, lines = begin(teacher, albert, "base,smoke", **same)
    assert_equal(made, teacher.params)
    assert lines[1:] == ["runs otherwise: pooler gelu, there tanh"]


@pytest.mark.parametrize(
    "module, variant",
    [(bert, "tiny,smoke"), (electra, "small,smoke"), (gpt1, "base,smoke")],
    ids=["BERT", "ELECTRA", "GPT-1"],
)
def test_the_same_model_needs_no_list(module, variant):
    source = run_of(module, variant)
    _, made, (line,) = begin(source, module, variant)
    assert_equal(made, source.params)
    assert "anew" not in line and "left out" not in line


BERT_OF_ELECTRA = {"model.layers": 1, "model.embedding_size": 16, "losses.nsp": 0.0, "model.pooler": "none"}


def test_of_electra_the_discriminator_is_taken():
    """And its generator's masked-LM head, of the same shape, is not taken for the discriminator's."""
    source = run_of(electra, "small,smoke", **{"model.layers": 1, "generator.size": 1.0, "generator.layers": 1.0})
    with pytest.raises(UserError) as error:
        begin(source, bert, "tiny,smoke", **BERT_OF_ELECTRA)
    assert str(error.value) == (
        "init.run: a has no part mlm; a has part generator_encoder (and 9 more), and this model has not; "
        "let the models agree, or allow it with --config.init.fresh=mlm "
        "--config.init.drop=generator_encoder,generator_mlm,replaced"
    )
    lists = {"init.fresh": ("mlm",), "init.drop": ("generator_encoder", "generator_mlm", "replaced")}
    params, made, lines = begin(source, bert, "tiny,smoke", **BERT_OF_ELECTRA | lists)
    assert_equal([made["encoder"], made["embeddings"]], [source.params["encoder"], source.params["embeddings"]])
    assert_equal(made["mlm"], params["mlm"])
    assert lines[0] == (
        "starts from a: embeddings, encoder; anew: mlm; left out: generator_encoder, generator_mlm, replaced"
    )


def test_a_renamed_generator_is_a_trunk_of_its_own_depth():
    trunks = {"model.layers": 2, "model.heads": 1, "generator.size": 1.0, "generator.layers": 1.5}
    source = run_of(electra, "small,smoke", **trunks)
    changes = BERT_OF_ELECTRA | {
        "model.heads": 1, "model.layers": 2, "init.layers": (2, 0), "init.drop": ("encoder", "replaced"),
        "init.rename": ("generator_encoder=encoder", "generator_mlm=mlm"),
    }  # fmt: skip
    _, made, lines = begin(source, bert, "tiny,smoke", **changes)
    generator = source.params["generator_encoder"]
    assert_equal(made["encoder"]["layers"], jax.tree.map(lambda x: x[[2, 0]], generator["layers"]))
    assert_equal([made["encoder"]["projection"], made["mlm"]], [generator["projection"], source.params["mlm"]])
    assert lines[0] == (
        "starts from a: embeddings, encoder (layers 2, 0), mlm; "
        "renamed: generator_encoder -> encoder, generator_mlm -> mlm; left out: encoder, replaced"
    )


def test_a_start_anew_leaves_out_what_is_there():
    source = run_of(bert, "tiny,smoke")
    params, made, (line,) = begin(
        source, bert, "tiny,smoke", **{"init.fresh": ("pooler", "embeddings/segment", "classifier")}
    )
    assert_equal(made["pooler"], params["pooler"])
    assert_equal(made["embeddings"], source.params["embeddings"] | {"segment": params["embeddings"]["segment"]})
    assert line == (
        "starts from a: embeddings/norm, embeddings/position, embeddings/token, encoder, mlm, pair; "
        "anew: embeddings/segment, pooler; left out: embeddings/segment, pooler"
    )


LARGER = {"model.max_positions": 80, "model.vocab_size": 56}


def test_tables_grow_behind_the_sources_rows():
    source = run_of(electra, "small,smoke", **{"generator.tying": "none", "losses.replaced_mlm": 1.0})
    changes = LARGER | {"generator.tying": "none", "losses.replaced_mlm": 1.0, "init.grow": ("positions", "vocabulary")}
    params, made, (line,) = begin(source, electra, "small,smoke", **changes)
    seen = []

    def compare(path, made, first, new):
        seen.append(len(made) - len(first))
        assert_equal(made[: len(first)], first)
        assert_equal(made[len(first) :], new[len(first) :])
        assert (len(made) > len(first)) == (path[-1].key in ("position", "token") or made.shape == (56,)), path

    jax.tree_util.tree_map_with_path(compare, made, source.params, params)
    assert sorted(seen)[-6:] == [8, 8, 8, 8, 16, 16]
    assert "; grown: embeddings/position 64 -> 80 rows, embeddings/token 48 -> 56 rows, " in line


REFUSED = {
    "width": ({"model.hidden_size": 40}, r"init.run: embeddings/norm/bias is \(32,\) in a, and \(40,\) here \(and "),
    "norm": (
        {"model.final_norm": True},
        r"init.run: a has no encoder/final_norm/bias \(and 1 more\); let the models agree with --config.model.final_norm=False$",
    ),
    "heads left over": (
        {"model.pooler": "none", "losses.nsp": 0.0},
        r"init.run: a has part pair \(and 2 more\), and this model has not; .* --config.init.drop=pair,pooler$",
    ),
    "a table left over": (
        {"model.type_vocab_size": 0, "init.drop": ("fit",)},
        "a has embeddings/segment, and .* agree with --config.model.type_vocab_size=2$",
    ),
    "head missing, the beginning of its name listed": (
        {"losses.all_tokens": 1.0, "init.fresh": ("cop",)}, "a has no part copied; .* --config.init.fresh=cop,copied$",
    ),
    "dropped": ({"init.drop": ("mlm/bias", "pai")}, "init.run: a has no mlm/bias; .* --config.init.fresh=mlm/bias$"),
    "positions": (
        {"model.max_positions": 80},
        r"embeddings/position is \(64, 32\) in a, and \(80, 32\) here; .* --config.init.grow=positions$",
    ),
    "fewer positions": (
        {"model.max_positions": 60, "init.grow": ("positions",)},
        r"position is \(64, 32\) .* agree with --config.model.max_positions=64$",
    ),
    "vocabulary": (
        LARGER | {"init.grow": ("positions",)},
        r"token is \(48, 32\) .*\(and 1 more\); .* --config.init.grow=positions,vocabulary$",
    ),
    "segments": (
        {"model.type_vocab_size": 4, "init.grow": ("positions",)},
        r"segment is \(2, 32\) .* agree with --config.model.type_vocab_size=2$",
    ),
    "two renamed to one": (
        {"init.rename": ("pair/dense=pooler/dense",)},
        "init.rename: pair/dense/bias and pooler/dense/bias of a would both be pooler/dense/bias; add one",
    ),
    "renamed to none": (
        {"init.rename": ("pair=pai",)},
        "a has no part pair; a has part pair, and this .* --config.init.fresh=pair --config.init.drop=pair$",
    ),
    "depth": ({"model.layers": 3}, "a has 2 layers and model.layers=3; say which of them with init.layers"),
    "too many layers": ({"init.layers": (0, 1, 1)}, r"init.layers=\(0, 1, 1\): model.layers=2 takes at most as many, from 0 to 1"),
    "too few in width": ({"init.layers": (0,), "model.ffn_size": 24}, r"is \(1, .*in a, and \(2, .* here"),
    "no such layer": ({"init.layers": (0, 2)}, r"init.layers=\(0, 2\): model.layers=2 takes at most as many, from 0 to 1"),
    "shared layers": (
        {"init.layers": (0, 1), "model.share": "all"}, "choose a set for each layer, which needs model.share=none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("misfit", REFUSED)
def test_what_a_run_cannot_start_from_is_refused_with_one_line(misfit):
    changes, message = REFUSED[misfit]
    with pytest.raises(UserError, match=message) as error:
        begin(run_of(bert, "tiny,smoke"), bert, "tiny,smoke", **changes)
    assert "\n" not in str(error.value)


def test_a_bias_over_tokens_and_positions_does_not_grow():
    both = {"model.predict_positions": True}
    source, changes = run_of(bert, "tiny,smoke", **both), both | {"model.vocab_size": 56, "init.grow": ("vocabulary",)}
    with pytest.raises(UserError, match=r"mlm/bias is \(112,\) in a, and \(120,\) here; .*.init.fresh=mlm/bias$"):
        begin(source, bert, "tiny,smoke", **changes)


UNTIED = {"generator.tying": "none"}
# Which run each recipe starts from.
FLOWS = {
    "BERT tuned": ((bert, "demo", {}), (finetune, "bert-demo,topics", {})),
    "ALBERT tuned": ((albert, "demo", {}), (finetune, "albert-demo,topics", {})),
    "ELECTRA tuned": ((electra, "demo", {}), (finetune, "electra-demo,topics", {})),
    "ELECTRA's other objectives tuned": (
        (electra, "demo", {"losses.mlm": 0.0, "losses.adversarial": 1.0, "losses.all_tokens": 1.0} | UNTIED),
        (finetune, "electra-demo,topics", {}),
    ),
    "ELECTRA, SQuAD": ((electra, "demo", {}), (finetune, "electra-demo,squad2", {})),
    "ELECTRA, SQuAD 2.0 and 1.1": ((finetune, "electra-demo,squad2", {}), (finetune, "electra-demo,squad", {})),
    "ELECTRA, SQuAD and topics": ((finetune, "electra-demo,squad2", {}), (finetune, "electra-demo,topics", {})),
    "GPT-1 tuned": ((gpt1, "demo", {}), (finetune, "gpt1-demo,topics", {})),
    "tuned again": ((finetune, "bert-demo,topics", {"task.classes": 9}), (finetune, "bert-demo,topics", {})),
    "DistilBERT tuned": ((distilbert, "demo", {}), (finetune, "distilbert-demo,topics", {})),
    "DistilBERT": ((bert, "demo", {}), (distilbert, "demo", {})),
    "DistilGPT-2": ((gpt2, "small,smoke", {}), (distilbert, "gpt2,smoke", {})),
    "TinyBERT, mlm": ((tinybert, "demo", {}), (tinybert, "demo,mlm", {})),
    "TinyBERT, intermediate": ((tinybert, "demo,release", {}), (tinybert, "demo,intermediate,release", {})),
    "TinyBERT, prediction": ((tinybert, "demo,intermediate", {}), (tinybert, "demo,prediction", {})),
    "TinyBERT, no task distillation": ((tinybert, "demo", {}), (finetune, "tinybert-demo,topics", {})),
    # Intermediate tasks: three classes become two, or a tagger with BiLSTMs, or it another with a text's classes.
    "BERT, MNLI and RTE": ((finetune, "bert-demo,mnli", {"task.classes": 3}), (finetune, "bert-demo,rte", {})),
    "ALBERT, MNLI and RTE": ((finetune, "albert-demo,mnli", {"task.classes": 3}), (finetune, "albert-demo,rte", {})),
    "features": ((finetune, "bert-demo,mnli", {"task.classes": 3}), (finetune, "bert-demo,conll2003,features", {})),
    "features again": (
        (finetune, "bert-demo,conll2003,features,smoke", {"task.classes": 9, "model.embedding_size": 0}),
        (finetune, "bert-demo,stsb,bilstm,smoke", {"model.embedding_size": 0}),
    ),
    "TinyBERT, SQuAD": ((tinybert, "demo,intermediate", {}), (tinybert, "demo,prediction,squad", {})),
    "DistilBERT, SQuAD": ((distilbert, "demo", {}), (distilbert, "demo,squad", {})),
    "TinyBERT, alone": ((tinybert, "demo,mlm,alone", {}), (finetune, "tinybert-demo,topics", {})),
}


@pytest.mark.parametrize("flow", FLOWS)
def test_the_recipes_list_what_they_need(flow):
    (module, variant, theirs), (*ours, changes) = FLOWS[flow]
    small = {"model.hidden_size": 64, "model.ffn_size": 64, "model.layers": 1, "model.neighbours": ()}
    source = run_of(module, variant, **small | theirs)
    params, made, _ = begin(source, *ours, **small | {"init.layers": (), "task.classes": 2} | changes)
    for part in made:
        if part == "embeddings":
            assert_equal(made[part], {table: source.params[part][table] for table in made[part]})
        else:
            heads = dict.fromkeys(("classifier", "token_classes", "span", "joint_span", "features"), True)
            anew = heads | {"mlm": flow == "TinyBERT, mlm", "pooler": "pooler" not in source.params}
            assert_equal(made[part], (params if anew.get(part) else source.params)[part])


def test_every_field_of_a_trunk_is_told_or_need_not_be():
    fields = {field.name for field in dataclasses.fields(TransformerConfig)}
    assert {*origin.SHOWN} | TRAINED < fields
    told = "network causal local_window share share_groups norm norm_epsilon activation pooler predict_positions"
    assert fields - {*origin.SHOWN} - TRAINED == set(told.split())


def pieces(*words):
    return library.Tokenizer(library.models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))


def test_a_grown_vocabulary_keeps_all_ids():
    run = SimpleNamespace(tokenizer=pieces("[UNK]", "a", "b"), workdir=Path("a"))
    start.check_pieces(run, pieces("[UNK]", "a", "b", "c"))
    with pytest.raises(UserError, match="init.grow: 'a' is id 1 in a and id 2 in this run's tokenizer; "):
        start.check_pieces(run, pieces("[UNK]", "b", "a", "c"))
    with pytest.raises(UserError, match="init.grow: 'b' is id 2 in a and not there in"):
        start.check_pieces(run, pieces("[UNK]", "a", "c"))


def test_the_learning_rates_are_those_of_the_run():
    options = bert.get_config("base").optimizer
    options.update(warmup=0.1, schedule="linear_peaked")
    told = start.learning_rates(schedule(options, step_clock(1000)), 1000)
    assert told == "learning rate: 0 at step 0, 0.0001 at step 100, 5.56e-05 at step 500, 0 at step 1,000"
    options.update(schedule="constant", warmup=0.0)
    told = start.learning_rates(schedule(options, step_clock(3)), 3)
    assert told == "learning rate: 0.0001 at step 0, 0.0001 at step 1, 0.0001 at step 3"


def test_entries_of_lists_that_do_not_fit_are_refused():
    config = bert.get_config("tiny,smoke")
    config.init.grow = ("position",)
    with pytest.raises(UserError, match="unknown table in init.grow 'position'; did you mean 'positions'"):
        origin.resolve(config)
    config.init.update(grow=(), rename=("a",))
    with pytest.raises(UserError, match="init.rename: 'a' is not of the form theirs=ours"):
        origin.resolve(config)


@pytest.fixture(scope="module")
def source(data_root, tmp_path_factory):
    """A run whose tokenizer is of other documents."""
    config = shrink(bert.get_config("tiny,smoke"), data_root, **{"data.max_documents": 200})
    return leave_run(config, tmp_path_factory.mktemp("source"))


def test_the_tokenizer_is_the_sources_unless_it_is_the_same(source, smoke_config, tmp_path):
    path = f"{source}/tokenizer.json"

    def resolved(*changes):
        return origin.resolve(smoke_config(("init.run", source), *changes), tmp_path).data.tokenizer.path

    assert resolved() == resolved(("init.run", ""), ("teacher.runs", (source,))) == path
    assert resolved(("data.max_documents", 200)) == resolved(("init.run", "")) == ""
    assert resolved(("data.max_documents", 200), ("data.corpus", "lm1b")) == path
    assert resolved(("data.tokenizer.path", "mine")) == "mine"
    assert resolved(("init.grow", ("vocabulary",))) == ""
    # Converted weights were not trained on what their config says, nor are folders of transformers.
    described = json.loads(Path(source, "config.json").read_text())
    (tmp_path / "converted").mkdir()
    files.write_json(tmp_path / "converted/config.json", described | {"converted_from": "elsewhere"})
    made = resolved(("data.max_documents", 200), ("init.run", str(tmp_path / "converted")))
    assert made == f"{tmp_path}/converted/tokenizer.json"
    files.write_json(tmp_path / "converted/config.json", {"model_type": "bert"})
    assert resolved(("init.run", str(tmp_path / "converted"))) == f"{tmp_path}/converted"
    with pytest.raises(UserError, match="nowhere holds no run"):
        resolved(("init.run", "nowhere"))


def test_a_start_is_told_once_and_goes_on_without_its_source(source, data_root, tmp_path, capfd):
    away = shutil.copytree(source, tmp_path / "source")
    changes = {"init.run": str(away), "init.drop": ("pair",), "losses.nsp": 0.0, "model.norm": "pre"}
    config = shrink(bert.get_config("tiny,smoke"), data_root, **changes | {"run.checkpoint_every": 1})
    result = train.train(config, tmp_path / "run")
    told = capfd.readouterr().out.splitlines()
    assert told[:4] + told[12:13] == [
        f"starts from {away}: embeddings, encoder, mlm, pooler; left out: pair",
        "runs otherwise: norm pre, there post",
        f"step 0 of 2 here; {away} was saved after step 1, no optimizer state is taken",
        "learning rate: 0 at step 0, 0.0005 at step 1, 0 at step 2",
        "started at step 0 of 2; compiling",
    ]
    run = load_run(tmp_path / "run")
    assert (run.step, run.tokenizer_hash) == (2, load_run(away).tokenizer_hash)

    prepared = tokens.prepare(run.config.data)
    shutil.rmtree(tmp_path / "run/checkpoints/2")
    shutil.rmtree(away)
    again = train.train(config, tmp_path / "run")
    told = capfd.readouterr().out.splitlines()
    assert again == result and told[8] == "resumed at step 1 of 2; compiling"
    assert_equal(load_run(tmp_path / "run").params, run.params)
    assert tokens.prepare(read_config(tmp_path / "run").data) == prepared


def test_a_run_starts_from_any_checkpoint_that_another_kept(data_root, tmp_path):
    """BERT, Figure 5: fine-tuning after 200,000 steps of a run of a million."""
    changes = {"steps": 3, "run.checkpoint_every": 1}
    train.train(shrink(bert.get_config("tiny,smoke"), data_root, **changes), tmp_path / "source")
    kept = [load_run(tmp_path / "source", step=step) for step in (1, 2, 0)]
    assert [run.step for run in kept] == [1, 2, 3]
    config = shrink(bert.get_config("tiny,smoke"), data_root, **{"init.run": str(tmp_path / "source"), "steps": 1})
    config.optimizer.warmup = 1.0  # its rate is 0 at step 0: the parameters stay as they are
    for run, step in zip(kept, (1, 2, 0), strict=True):
        config.init.step = step
        train.train(config, tmp_path / str(step))
        assert_equal(load_run(tmp_path / str(step)).params, run.params)
    with pytest.raises(UserError, match="has no checkpoint of step 7, only of 1, 2, 3; run.keep_checkpoints"):
        load_run(tmp_path / "source", step=7)


def test_lists_decide_a_run_that_starts_from_another(smoke_config):
    prepared = Path(tokens.prepare(smoke_config().data))
    decided = lambda *changes: make_fingerprint(smoke_config(*changes), prepared, {})  # noqa: E731
    begun = ("init.run", "a")
    assert decided(("init.drop", ("pair",))) == decided() and "init" not in decided()
    assert decided(begun, ("init.drop", ("pair",))) != decided(begun)
    assert decided(begun, ("data.tokenizer.path", "a/tokenizer.json")) == decided(begun)


def test_a_folder_of_converted_weights_is_not_trained_in(smoke_config, tmp_path):
    files.write_json(tmp_path / "config.json", {"config": {}, "converted_from": "elsewhere"})
    with pytest.raises(UserError, match="converted weights: start from them with --config.init.run=.* another --"):
        train.train(smoke_config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
