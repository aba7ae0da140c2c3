"""Every variant builds, its parameters are the paper's, and a mistake is one clear line."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs import bert
from ssl_jax import flops
from ssl_jax.describe import describe
from ssl_jax.errors import UserError
from ssl_jax.models.model import build_model

# Exact counts derived from the papers' shapes and rebuilt with `transformers` modules.
FIGURES = list(csv.DictReader((Path(__file__).parent / "figures/bert_variants.csv").open()))


@pytest.mark.parametrize("row", FIGURES, ids=lambda row: row["variant"])
def test_parameters_equal_the_papers_shapes(row):
    description = describe(bert.get_config(row["config"]))
    heads = sum(count for part, count in description["parts"].items() if part in ("mlm", "pair"))
    assert description["parameters"] - heads == int(row["encoder_and_pooler"])
    if row["with_heads"]:
        assert description["parameters"] == int(row["with_heads"])


def test_every_size_has_its_figure():
    assert {row["config"] for row in FIGURES} == set(bert.SIZES) - {"demo"}


def test_cased_vocabulary_has_the_released_count():
    config = bert.get_config("base")
    config.model.vocab_size = 28996
    assert describe(config)["parameters"] == 108_932_934


@pytest.mark.parametrize("name", bert.SIZES)
def test_every_variant_takes_the_suffix_smoke(name):
    config = bert.get_config(f"{name},smoke")
    assert config.steps <= 20 and describe(config)["parameters"] < 100_000
    assert config.losses == bert.get_config(name).losses


def test_flops_are_six_a_weight_and_twelve_for_attention():
    config = bert.get_config("base")
    # By hand: 12 layers of 4 * 768^2 + 2 * 768 * 3072; the head at 19 of 128 positions; attention 12 L H S.
    layers = 12 * (4 * 768**2 + 2 * 768 * 3072)
    head = (768**2 + 768 * 30522) * 19 / 128
    pooled = (768**2 + 2 * 768) / 128
    expected = 6 * (layers + head + pooled) + 12 * 12 * 768 * 128
    assert flops.flops_per_token(build_model(config).config, 128, 19) == pytest.approx(expected)


@pytest.mark.parametrize(
    "variant, message",
    [("tny", "unknown variant 'tny'; did you mean 'tiny'"), ("tiny,smok", "unknown suffix 'smok'; did you mean 'smoke'")],
)
def test_unknown_variants_are_refused_with_the_near_match(variant, message):
    with pytest.raises(UserError, match=message):
        bert.get_config(variant)


def test_a_head_is_there_when_a_loss_reads_it():
    config = bert.get_config("tiny")
    config.losses.nsp = 0.0
    assert "pair" not in describe(config)["parts"]


def run(root, script, *arguments):
    command = [sys.executable, str(root / "scripts" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_describe_prints_json_or_a_table(root):
    config = f"--config={root}/configs/bert.py:base"
    description = json.loads(run(root, "describe.py", config, "--json", "--config.batch_size=8").stdout)
    assert description["parameters"] == 110_106_428
    assert description["phases"][0]["tokens_per_step"] == 8 * 128
    assert "110,106,428" in run(root, "describe.py", config).stdout


BASE = ("--config=configs/bert.py:tiny,smoke",)
MISTAKES = {
    "unknown key": ([*BASE, "--config.stps=3"], 'unknown config key stps; Did you mean "steps"'),
    "unknown nested key": ([*BASE, "--config.optimizer.learning_rte=3"], 'Did you mean "learning_rate"'),
    "unknown variant": (["--config=configs/bert.py:tny"], "unknown variant 'tny'; did you mean 'tiny'"),
    "wrong type": ([*BASE, "--config.steps=many"], "flag --config.steps=many: invalid literal for int()"),
    "no such file": (["--config=configs/brt.py"], "cannot read the config file"),
    "no dashes": ([*BASE, "config.steps=3"], "'config.steps=3' is not a flag"),
    "not a config": (["--config=README.md"], "the config file fails: SyntaxError"),
    "no config": ([], "config"),
    "unknown flag": ([*BASE, "--stesp=3"], "Unknown command line flag 'stesp'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(mistake, root, tmp_path):
    arguments, message = MISTAKES[mistake]
    arguments = [re.sub("(configs/|README)", rf"{root}/\1", argument) for argument in arguments]
    done = run(root, "train.py", *arguments, f"--workdir={tmp_path}/run")
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_workdir_flag_is_one_line(root):
    done = run(root, "train.py", f"--config={root}/configs/bert.py:tiny,smoke")
    assert done.returncode == 2 and "workdir" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "flags",
    [["--process_count=2", "--process_index=1"], ["--coordinator=localhost:1"], ["--coordinator=auto", "--process_index=0"]],
)
def test_half_of_the_flags_of_several_processes_is_one_line(flags, root, tmp_path):
    done = run(root, "train.py", f"--config={root}/configs/bert.py:tiny,smoke", f"--workdir={tmp_path}/run", *flags)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "all of --coordinator HOST:PORT, --process_count and --process_index" in done.stderr
    assert not (tmp_path / "run").exists()


def test_help_names_the_flags(root):
    assert "--workdir" in run(root, "train.py", "--help").stdout
