"""What a run takes from the run or model that it starts from, and what does not fit, as the two configs say."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from configs import albert, bert, distilbert, electra, finetune, gpt1, gpt2
from ssl_jax import checks, source
from ssl_jax.errors import UserError

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A folder of transformers as a released encoder is: a trunk of 3 layers of 24 with its pooler, erf GELU, no heads."""
    folder = tmp_path_factory.mktemp("released")
    config = dict(
        model_type="bert", vocab_size=len(PIECES), num_hidden_layers=3, hidden_size=24, num_attention_heads=4,
        intermediate_size=40, max_position_embeddings=48, hidden_act="gelu",
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    safetensors.numpy.save_file({"pooler.dense.weight": np.zeros((24, 24), np.float32)}, folder / "model.safetensors")
    return str(folder)


def leave(config, folder):
    """A run's folder as far as configs are read from it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"config": json.loads(config.to_json())}))
    return str(folder)


def take(config, where, *given, workdir=None, **changes):
    config.update_from_flattened_dict({"init.run": where} | changes)
    return source.adopt(config, {"init.run", *given, *changes}, workdir)


def test_a_released_model_decides_what_the_trunk_computes(released):
    config, lines = take(finetune.get_config("bert-base,rte"), released)
    model = config.model
    shape = model.layers, model.hidden_size, model.heads, model.ffn_size, model.max_positions, model.type_vocab_size
    assert shape == (3, 24, 4, 40, 48, 2)
    assert (model.activation, model.pooler, model.norm, model.norm_epsilon) == ("gelu", "tanh", "post", 1e-12)
    assert (model.dropout, config.optimizer.learning_rate, config.task.epochs) == (0.1, 2e-5, 3.0)  # the recipe's
    assert config.data.tokenizer.path == released and config.phases.lengths == (48,)
    assert {"heads"} < {*config.init.drop} and config.init.fresh == ("classifier", "features", "heads")
    assert lines == [
        f"taken from {released}: data.tokenizer.path={released}, model.activation=gelu, model.ffn_size=40, model.heads=4, "
        "model.hidden_size=24, model.layers=3, model.max_positions=48, model.vocab_size=15, phases.lengths=48; "
        "flags for these come first"
    ]
    config = checks.settle(config)
    assert config.model.vocab_size == config.data.tokenizer.vocab_size == len(PIECES)
    source.check_fit(config)
    # What is settled stays so.
    assert checks.settle(source.resolve(config)) == config


def test_a_released_distilbert_drops_where_it_did_in_anyones_recipe(released, tmp_path):
    """modeling_distilbert.py: not after attention. How much it drops is the recipe's."""
    theirs = dict(model_type="distilbert", vocab_size=len(PIECES), n_layers=3, dim=24, n_heads=4, hidden_dim=40,
                  max_position_embeddings=48, dropout=0.3)  # fmt: skip
    shutil.copytree(released, tmp_path / "distilbert")
    (tmp_path / "distilbert/config.json").write_text(json.dumps(theirs))
    config, (line,) = take(finetune.get_config("bert-base,rte"), str(tmp_path / "distilbert"))
    assert (config.model.dropped_sublayers, config.model.dropout) == ("ffn", 0.1)
    assert "model.dropped_sublayers=ffn" in line


def test_pre_training_goes_on_from_a_released_model(released):
    config, _ = take(bert.get_config("base"), released)
    config = checks.settle(config)
    source.check_fit(config)
    assert (config.phases.lengths, config.model.pooler, config.losses.nsp) == ((48, 48), "tanh", 1.0)
    config, _ = take(electra.get_config("base"), released)  # which has no pooler, and a generator of its own
    assert (config.model.pooler, config.generator.kind, config.model.layers) == ("none", "transformer", 3)
    source.check_fit(checks.settle(config))


def test_a_flag_decides_otherwise_and_what_then_does_not_fit_is_refused(released):
    changes = {"model.activation": "relu", "phases.lengths": (16,), "init.fresh": ("pooler",)}
    config, (line,) = take(finetune.get_config("bert-base,rte"), released, **changes)
    assert (config.model.activation, config.phases.lengths, config.init.fresh) == ("relu", (16,), ("pooler",))
    assert "activation" not in line and config.model.layers == 3
    config, _ = take(finetune.get_config("bert-base,rte"), released, **{"model.hidden_size": 768, "model.layers": 12})
    with pytest.raises(UserError, match=r"has model.layers=3, model.hidden_size=24, and this config 12, 768: leave .*"):
        source.check_fit(checks.settle(config))
    config, _ = take(finetune.get_config("bert-base,rte"), released, **{"model.max_positions": 512})
    with pytest.raises(UserError, match=r"model.max_positions=48, and this config 512: .* init.grow=positions$"):
        source.check_fit(checks.settle(config))
    config.init.grow = ("positions",)
    source.check_fit(checks.settle(config))
    config, _ = take(finetune.get_config("bert-base,rte"), released)
    with pytest.raises(UserError, match="data.tokenizer.vocab_size=9, but .* has 15 pieces, and decides: leave it out"):
        config.data.tokenizer.vocab_size = 9
        checks.settle(config, {"data.tokenizer.vocab_size"})
    with pytest.raises(UserError, match=r"reads all of a text at once, .* --config.model.causal=False$"):
        take(gpt2.get_config("small"), released)
    with pytest.raises(UserError, match="/nowhere holds no run"):
        take(bert.get_config("base"), "/nowhere")


def test_only_a_flag_makes_a_source_decide(released):
    plain = bert.get_config("base")
    plain.init.run = released
    assert source.adopt(plain, set()) == (plain, []) == source.adopt(plain, {"model.layers"})
    for variant, changes in (("base", {"init.layers": (0, 1)}), ("base", {"init.run": "teacher"})):
        student = distilbert.get_config(variant)
        student.update_from_flattened_dict(changes)
        assert source.adopt(student, {"init.run"}) == (student, [])
    with pytest.raises(UserError, match="model.layers=3, model.hidden_size=24, model.heads=4, .* init.layers"):
        source.check_fit(checks.settle(source.resolve(plain)))


def test_a_run_of_ours_decides_too_and_a_run_that_goes_on_keeps_what_it_took(tmp_path):
    theirs = electra.get_config("small")
    theirs.update_from_flattened_dict({"generator.size": 0.5, "model.layers": 3, "data.tokenizer.vocab_size": 500})
    where = leave(theirs, tmp_path / "source")
    ours = electra.get_config("base")
    config, _ = take(ours, where)
    taken = config.model.layers, config.model.hidden_size, config.generator.size, config.data.tokenizer.vocab_size
    # Of the same documents: the same tokenizer is trained, and the prepared corpus shared.
    assert (taken, config.data.tokenizer.path) == ((3, 256, 0.5, 500), "")
    # With its optimizer a run continues the source with all that it has.
    continued, _ = take(electra.get_config("base"), where, **{"init.optimizer": True})
    assert (continued.init.drop, continued.init.fresh, continued.model.layers) == ((), (), 3)
    (tmp_path / "run/checkpoints/5").mkdir(parents=True)
    leave(config, tmp_path / "run")
    (tmp_path / "source/config.json").unlink()
    again, _ = take(electra.get_config("base"), where, workdir=tmp_path / "run")
    assert again.model == config.model and again.generator == config.generator
    assert (again.init.drop, again.init.fresh) == (config.init.drop, config.init.fresh)


def test_layers_that_share_start_a_run_of_another_depth(tmp_path):
    """ALBERT, Table 11: each depth from the one before; the two commands of configs/albert.py."""
    where = leave(albert.get_config("large"), tmp_path / "all")
    config, _ = take(albert.get_config("large"), where, **{"model.layers": 48})
    source.check_fit(checks.settle(source.resolve(config)))
    assert (config.model.layers, config.model.share) == (48, "all")
    config.model.share = "attention"
    with pytest.raises(UserError, match="all has model.layers=24, and this config 48: .* init.layers"):
        source.check_fit(checks.settle(source.resolve(config)))


def test_a_run_is_tuned_with_the_words_that_it_was_trained_with(tmp_path):
    where = leave(gpt1.get_config("tiny"), tmp_path / "source")
    released = finetune.get_config("gpt1-tiny,rte,release")
    assert take(finetune.get_config("gpt1-tiny,rte,release"), where)[0].data.tokenizer.words == "bert"  # the source's
    released.init.run = str(where)  # the recipe's own: nothing is taken
    with pytest.raises(
        UserError, match="trained with data.tokenizer.words=bert: set --config.data.tokenizer.words=bert"
    ):
        source.check_fit(source.resolve(released))


def test_what_two_configs_say_is_told_before_jax_is_loaded(released, root, tmp_path):
    code = (
        "import sys; from ssl_jax import command_line; command_line.define_config();"
        "command_line.run(lambda: (command_line.settled(sys.argv[0]), print('jax' in sys.modules)))"
    )
    flags = [f"--config={root}/configs/finetune.py:bert-base,rte", f"--config.init.run={released}"]

    def run(*more):
        return subprocess.run([sys.executable, "-c", code, *flags, *more], capture_output=True, text=True, check=False)

    assert run().stdout == "False\n"
    done = run("--config.model.hidden_size=768")
    assert done.returncode == 1 and "has model.hidden_size=24, and this config 768: " in done.stderr
    assert done.stderr.count("\n") == 1
