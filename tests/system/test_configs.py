"""Every variant builds, its parameters are the paper's, and a mistake is one clear line."""

import bisect
import csv
import functools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from configs import albert, bert, common, decanlp, distilbert, electra, finetune, gpt1, gpt2, gpt3, tinybert
from ssl_jax import checks, command_line, flops, parallel, plan, synonyms
from ssl_jax import config as schema
from ssl_jax.describe import describe
from ssl_jax.distill import teachers as distill
from ssl_jax.errors import UserError
from ssl_jax.experiment import token_counts
from ssl_jax.models.model import build_model
from ssl_jax.optimizers import schedule, step_clock
from ssl_jax.options import flat
from ssl_jax.plan import example_kind, make_clock, masks, plan_phases, predictions_per_sequence
from tests.conftest import run_here

# Exact counts derived from the papers' shapes and rebuilt with `transformers` modules.
FIGURES = list(csv.DictReader((Path(__file__).parents[1] / "figures/bert_variants.csv").open()))


@pytest.mark.parametrize("row", FIGURES, ids=lambda row: row["variant"])
def test_parameters_equal_the_papers_shapes(row):
    description = describe(bert.get_config(row["config"]))
    heads = sum(count for part, count in description["parts"].items() if part in ("mlm", "pair"))
    assert description["parameters"] - heads == int(row["encoder_and_pooler"])
    if row["with_heads"]:
        assert description["parameters"] == int(row["with_heads"])


def test_every_size_has_its_figure():
    assert {row["config"] for row in FIGURES} == set(bert.SIZES) - {"demo"}


def test_steps_that_are_given_count_before_a_recipes_epochs():
    config = finetune.get_config("bert-demo,topics")
    assert config.task.epochs > 0 == checks.settle(config, {"steps"}).task.epochs
    for given in ((), {"steps", "task.epochs"}):
        assert checks.settle(config, given).task.epochs == config.task.epochs


# Sizes that a paper has from BERT's miniatures are built by a test of their own.
ADDED = {
    "gpt1": ("tiny", "mini", "small", "medium"), "gpt2": ("tiny", "mini"), "gpt3": ("tiny", "mini"),
    "albert": ("tiny", "mini", "small", "medium"), "electra": ("tiny", "mini", "medium"),
    "distilbert": ("tiny", "mini", "small", "medium"), "tinybert": ("tiny", "mini", "small"),
}  # fmt: skip


def test_cased_vocabulary_has_the_released_count():
    config = bert.get_config("base")
    config.model.vocab_size = 28996
    assert describe(config)["parameters"] == 108_932_934


PAPERS = {"bert": bert, "gpt1": gpt1, "gpt2": gpt2, "gpt3": gpt3, "albert": albert, "electra": electra}
STUDENTS = {"distilbert": distilbert, "tinybert": tinybert}  # these do not train without a teacher
ALL = PAPERS | STUDENTS | {"decanlp": decanlp}
VARIANTS = [(paper, size) for paper, module in ALL.items() for size in module.SIZES if size not in ADDED.get(paper, ())]


@pytest.mark.parametrize("paper, size", VARIANTS)
def test_every_variant_takes_the_suffix_smoke(paper, size):
    config = ALL[paper].get_config(f"{size},smoke")
    assert config.steps <= 20 and describe(config)["parameters"] < 150_000
    full = ALL[paper].get_config(size)
    for same in ("losses", "data.examples", "model.share", "model.norm", "model.causal", "optimizer.name", "generator"):
        assert functools.reduce(getattr, same.split("."), config) == functools.reduce(getattr, same.split("."), full)


@pytest.mark.parametrize("paper, size", VARIANTS)
@pytest.mark.parametrize("suffix", ["release", "v2", "printed"])
def test_suffixes_change_the_config_and_it_still_builds(paper, size, suffix):
    module = ALL[paper]
    known = {"release": paper != "gpt3", "v2": paper == "albert", "printed": paper == "gpt3"}[suffix]
    if not known:
        with pytest.raises(UserError, match=f"unknown suffix '{suffix}'"):
            module.get_config(f"{size},{suffix}")
        return
    config = module.get_config(f"{size},{suffix}")
    assert describe(config)["parameters"] > 0
    if suffix != "printed" or size in gpt3.PRINTED:
        assert config != module.get_config(size)


@pytest.mark.parametrize("size, steps", [("base", 10_000_000), ("xlarge", 3_000_000)])
def test_albert_v2_warms_up_for_as_many_steps_as_v1(size, steps):
    """README: --num_warmup_steps=3125, of 125,000 steps; v2 trains for longer, its rate peaks as early."""
    for variant, total in ((size, 125_000), (f"{size},v2", steps)):
        config = albert.get_config(variant)
        rate = schedule(config.optimizer, step_clock(config.steps))
        expected = 0.00176 * np.array([1 / 3125, 3124 / 3125, 1 - 3125 / total])
        assert config.steps == total
        np.testing.assert_allclose(rate(np.array([1, 3124, 3125])), expected, rtol=1e-5)


@pytest.mark.parametrize("paper, variant, loss, kind", [
    ("bert", "base", "nsp", "adjacent"), ("albert", "base", "sop", "adjacent"), ("electra", "small", "", "segments"),
])  # fmt: skip
def test_pairs_without_a_loss_are_cut_as_the_papers_own_builder_does(paper, variant, loss, kind):
    """BERT's "No NSP" and ALBERT's "none" (Table 5 of each), and ELECTRA, which packs its own."""
    config = ALL[paper].get_config(variant)
    if loss:
        assert example_kind(config) == loss
        config.losses[loss] = 0.0
    assert example_kind(config) == kind


STAGES = {
    "intermediate": ({"attention", "hidden", "embedding"}, (32, 20.0, "constant", 0.0)),
    "prediction": ({"soft_labels"}, (32, 3.0, "linear_peaked", 0.1)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_tinyberts_stages_are_tasks(stage):
    losses, expected = STAGES[stage]
    config = tinybert.get_config(f"4-312,{stage}")
    assert {name for name, weight in config.losses.items() if weight} == losses
    assert example_kind(config) == "task" and not masks(config)
    made = config.optimizer
    assert (config.batch_size, config.task.epochs, made.schedule, made.warmup) == expected


# Section 4.2: epochs of the first step, 3 of the second; 64 tokens of one sentence, 128 of pairs.
TASKS = {
    "cola": (50, 64, "soft_labels"), "sst2": (20, 64, "soft_labels"), "mrpc": (20, 128, "soft_labels"),
    "stsb": (20, 128, "regress"), "qqp": (10, 128, "soft_labels"), "mnli": (10, 128, "soft_labels"),
    "qnli": (10, 128, "soft_labels"), "rte": (20, 128, "soft_labels"), "squad2": (20, 384, "soft_span"),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_tinyberts_stages_take_a_task(task):
    epochs, length, loss = TASKS[task]
    for stage, passes, losses in (("intermediate", epochs, STAGES["intermediate"][0]), ("prediction", 3, {loss})):
        config = tinybert.get_config(f"4-312,{stage},{task}")
        assert {name for name, weight in config.losses.items() if weight} == losses
        assert (config.task.name, config.task.epochs, config.phases.lengths) == (task, passes, (length,))
        assert example_kind(config) == "task"
        hard = tinybert.get_config(f"4-312,{stage},{task},alone")
        assert distill.taught(hard) == []
    assert ("pooler" in config.init.drop) == (config.model.pooler == "none") == (loss == "soft_span")
    with pytest.raises(UserError, match=f"a task follows its stage: 4-312,intermediate,{task}"):
        tinybert.get_config(f"4-312,{task}")


def test_tinyberts_general_distillation_reads_berts_pairs_and_warms_up_as_long_as_bert():
    """Section 4.2, "the same settings as BERT": 10,000 steps; pregenerate_training_data.py: next-sentence pairs."""
    config = tinybert.get_config("4-312")
    assert example_kind(config) == "nsp" and not masks(config) and not config.losses.nsp
    rate = schedule(config.optimizer, make_clock(config, plan_phases(config)))
    assert float(rate(9_999)) == pytest.approx(1e-4 * 0.9999) and float(rate(10_000)) < 1e-4
    # Some token is masked even where none should be (create_masked_lm_predictions), and only there.
    release = tinybert.get_config("4-312,release")
    assert masks(release) and predictions_per_sequence(release, 128) == 1
    assert not masks(tinybert.get_config("4-312,intermediate,release"))
    switches = ("dropout", "count_padding", "mean_over_classes")
    for variant in ("4-312", "4-312,intermediate,mnli", "4-312,prediction,mnli"):
        for teacher, on in (
            (tinybert.get_config(variant).teacher, False),
            (tinybert.get_config(f"{variant},release").teacher, True),
        ):
            assert [teacher[name] for name in switches] == [on] * 3
            assert teacher.projection == ("one" if on else "two")


def test_distilbert_sees_its_corpus_three_times():
    """train.py: n_epoch 3, warmup_prop 0.05; by default 5 x 50 accumulated sequences."""
    tokens = 3_300e6 * 1.29  # BERT, A.2, and wordpieces of a word
    for variant, batch_size in (("base", 4096), ("base,release", 250)):
        config = distilbert.get_config(variant)
        assert config.batch_size == batch_size and config.phases.lengths == (512,)
        assert config.steps * batch_size * 512 == pytest.approx(3 * tokens, rel=0.02)
        assert config.optimizer.warmup == 0.05
    assert distilbert.get_config("base,squad,release").batch_size == 8


def test_distilberts_second_step_is_on_squad():
    config = distilbert.get_config("base,squad")
    assert {name: weight for name, weight in config.losses.items() if weight} == {"soft_span": 0.5, "span": 0.5}
    assert (config.teacher.temperature, config.init.run, config.init.layers) == (2.0, "", ())
    assert example_kind(config) == "task" and not masks(config)
    assert token_counts(config, None, None) is None
    made = config.optimizer
    assert (config.batch_size, config.phases.lengths, config.task.epochs) == (8, (384,), 3)
    assert (made.learning_rate, made.warmup, made.b2, made.epsilon, made.grad_clip_norm) == (5e-5, 0, 0.999, 1e-8, 1)
    config.task.name, config.losses.span = "mnli", 0.0
    with pytest.raises(
        UserError, match="losses.soft_span needs a task of spans, and task.name=mnli is one of classification"
    ):
        example_kind(config)


@pytest.mark.parametrize("paper", STUDENTS)
def test_a_student_alone_needs_no_teacher(paper):
    config = STUDENTS[paper].get_config("demo,alone")
    assert distill.taught(config) == [] and (config.init.run, config.teacher.runs) == ("", ())


@pytest.mark.parametrize(
    "paper, size, length, expected",
    [
        # By hand, 6 a weight and token plus attention's 12 L H S. BERT: 12 layers of 4 * 768^2 + 2 * 768 * 3072, the
        # head at 19 of 128 positions, pooler and pair head at one; attention 12 L H S.
        ("bert", "base", 128,
         6 * (12 * (4 * 768**2 + 2 * 768 * 3072) + (768**2 + 768 * 30522) * 19 / 128 + (768**2 + 2 * 768) / 128)
         + 12 * 12 * 768 * 128),
        ("gpt2", "small", 1024, 6 * (12 * 12 * 768**2 + 768 * 50257) + 12 * 12 * 768 * 1024),
        # Discriminator 256 wide, generator 64; both project from 128; RTD head at all positions, MLM at 19 of 128.
        ("electra", "small", 128,
         6 * (12 * 12 * 256**2 + 128 * 256 + 256**2 + 256) + 12 * 12 * 256 * 128
         + 6 * (12 * 12 * 64**2 + 128 * 64 + (64 * 128 + 128 * 30522) * 19 / 128) + 12 * 12 * 64 * 128),
        # Shared layers are computed as often as others.
        ("albert", "base", 512,
         6 * (12 * 12 * 768**2 + 128 * 768 + (768 * 128 + 128 * 30000) * 77 / 512 + (768**2 + 2 * 768) / 512)
         + 12 * 12 * 768 * 512),
    ],
)  # fmt: skip
def test_flops_are_six_a_weight_and_twelve_for_attention(paper, size, length, expected):
    config = PAPERS[paper].get_config(size)
    predictions = predictions_per_sequence(config, length)
    assert flops.flops_per_token(build_model(config), length, predictions) == pytest.approx(expected)


def test_gpt3_trains_on_300_billion_tokens_in_growing_batches():
    config = gpt3.get_config("small")
    phases = plan_phases(config)
    tokens = [(p.last - p.first) * p.batch_size * p.length for p in phases]
    assert sum(tokens) == pytest.approx(300e9, rel=1e-4)
    assert [p.batch_size for p in phases] == [*range(16, 257, 16)]
    # The first 4 of 300 G tokens in 15 equal parts.
    assert tokens[:-1] == pytest.approx([4e9 / 15] * 15, rel=1e-3)
    assert phases[0].first == 0 and all(a.last == b.first for a, b in zip(phases, phases[1:]))
    examples = [p.first_example for p in phases]
    assert examples == [sum(tokens[:i]) // 2048 for i in range(len(phases))]


def test_gpt3_schedule_counts_tokens():
    """Appendix B: warm-up over 375 M tokens, cosine to 10 % at 260 G, constant then."""
    config = gpt3.get_config("small")
    phases = plan_phases(config)
    clock = make_clock(config, phases)
    rate = schedule(config.optimizer, clock)
    step = phases[1].first + 1000
    seen = sum((p.last - p.first) * p.batch_size * 2048 for p in phases[:1]) + 1000 * 32 * 2048
    assert float(clock.now(step)) == pytest.approx(seen, rel=1e-6)
    assert seen < 375e6 and float(rate(step)) == pytest.approx(6e-4 * seen / 375e6, rel=1e-5)
    later = bisect.bisect_left(range(config.steps), 260e9, key=clock.now)
    assert clock.now(later - 1) < 260e9 <= clock.now(later)
    assert float(rate(later)) == pytest.approx(6e-5, rel=1e-3) == float(rate(config.steps - 1))
    middle = config.steps // 2
    x = float(clock.now(middle)) / 260e9
    assert float(rate(middle)) == pytest.approx(6e-4 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * x))), rel=1e-4)


@pytest.mark.parametrize(
    "variant, message",
    [
        ("tny", "unknown variant 'tny'; did you mean 'tiny'"),
        ("tiny,smok", "unknown suffix 'smok'; did you mean 'smoke'"),
    ],
)
def test_unknown_variants_are_refused_with_the_near_match(variant, message):
    with pytest.raises(UserError, match=message):
        bert.get_config(variant)


def test_a_head_is_there_when_a_loss_reads_it():
    config = bert.get_config("tiny")
    config.losses.nsp = 0.0
    assert "pair" not in describe(config)["parts"]


def run(root, script, *arguments):
    return subprocess.run(words(root, script, *arguments), capture_output=True, text=True, check=False)


def words(root, script, *arguments):
    return [sys.executable, str(root / "scripts" / script), *arguments]


def test_describe_prints_json_or_a_table(root):
    config = f"--config={root}/configs/bert.py:base"
    description = json.loads(run_here(words(root, "describe.py", config, "--json", "--config.batch_size=8")).stdout)
    assert description["parameters"] == 110_106_428
    assert description["phases"][0]["tokens_per_step"] == 8 * 128
    assert "110,106,428" in run(root, "describe.py", config).stdout


BASE = ("--config=configs/bert.py:tiny,smoke",)
MISTAKES = {
    "unknown nested key": (
        [*BASE, "--config.optimizer.learning_rte=3"],
        "unknown config key optimizer.learning_rte; did you mean --config.optimizer.learning_rate (",
    ),
    "unknown variant": (["--config=configs/bert.py:tny"], "unknown variant 'tny'; did you mean 'tiny'"),
    "wrong type": ([*BASE, "--config.steps=many"], "flag --config.steps=many: a whole number is needed"),
    "a fraction": ([*BASE, "--config.steps=1.5"], "flag --config.steps=1.5: a whole number is needed"),
    "no number": ([*BASE, "--config.optimizer.b1=x"], "flag --config.optimizer.b1=x: a number is needed"),
    "neither": ([*BASE, "--config.model.causal=maybe"], "flag --config.model.causal=maybe: True or False is needed"),
    "a block": ([*BASE, "--config.model=tiny"], "config key model is a block: set its keys, as --config.model."),
    "no such file": (["--config=configs/brt.py"], "there is none; did you mean "),
    "no dashes": ([*BASE, "config.steps=3"], "'config.steps=3' is not a flag"),
    "not a config": (["--config=README.md"], "the config file fails: SyntaxError"),
    "no config": ([], "config"),
    "unknown flag": ([*BASE, "--stesp=3"], "Unknown command line flag 'stesp'; did you mean --config.steps?"),
    "another's flag": ([*BASE, "--output_dir=x"], "Unknown command line flag 'output_dir'; did you mean --workdir?"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(mistake, root, tmp_path):
    arguments, message = MISTAKES[mistake]
    arguments = [re.sub("(configs/|README)", rf"{root}/\1", argument) for argument in arguments]
    done = run_here(words(root, "train.py", *arguments, f"--workdir={tmp_path}/run"))
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "run").exists()


NEAR = {
    "learning_rate": ["optimizer.learning_rate"], "max_steps": ["steps"], "lr": ["optimizer.learning_rate"],
    "batchsize": ["batch_size"], "hidden_size": ["model.hidden_size", "teacher.hidden_size"], "stps": ["steps"],
    "num_train_epochs": ["task.epochs"], "per_device_train_batch_size": ["batch_size"],
    "warmup_steps": ["optimizer.warmup"], "max_seq_length": ["phases.lengths"], "optimizer.lr": ["optimizer.learning_rate"],
    "vocab_size": ["data.tokenizer.vocab_size"], "model.num-hidden-layers": ["model.layers"], "output_dir": ["--workdir"],
    "model.dropuot": ["model.dropout"], "optimizer.hidden_size": ["model.hidden_size", "teacher.hidden_size"],
    "init_from": ["init.run"], "data.short": ["data.short_seq_prob"], "log_every": ["run.log_every"], "xyzzy": [],
}  # fmt: skip


@pytest.mark.parametrize("name", NEAR)
def test_a_misspelt_or_misplaced_key_finds_its_near_match(name):
    assert command_line.near(name, list(command_line._names(schema.base()))) == NEAR[name]


def test_what_others_call_a_key_is_a_hint_to_one_that_there_is():
    keys = {key for key in synonyms.KEYS.values() if not key.startswith("--")}
    assert keys <= command_line._names(schema.base()).keys()


def parsed(monkeypatch, *arguments):
    """What `command_line.run` makes of a command: the config, in the flags of a script of its own."""
    values = flags.FlagValues()
    monkeypatch.setattr(command_line.flags, "FLAGS", values)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    config_flags.DEFINE_config_file("config", None, flag_values=values)
    values["config"].needed = True  # as command_line.define_config
    made = []
    command_line.run(lambda: made.append(values["config"].value))
    return made[0]


def test_an_evaluation_is_added_by_flags(monkeypatch, root, capsys):
    command = (
        f"--config={root}/configs/bert.py:tiny",
        "--config.evals.speed.batch_size=8",
        "--config.evals.heldout.at_end=true",
    )
    config = parsed(monkeypatch, *command, "--config.evals.speed.module=timing", "--config.evals.heldout.max_batches=3")
    assert config.evals.to_dict() == {
        "heldout": dict(module="mean", split="heldout", max_batches=3, at_end=True),
        "speed": dict(module="timing", batch_size=8),
    }
    for flag, message in (("batch_size=x", "evals.speed.batch_size='x': a whole number"), ("module=tming", "'timing'")):
        config = parsed(monkeypatch, *command[:1], "--config.evals.speed.module=timing", f"--config.evals.speed.{flag}")
        with pytest.raises(UserError, match=message):
            checks.settle(config)


def test_flags_may_come_before_the_config_and_a_home_folder_is_expanded(monkeypatch, root, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = parsed(
        monkeypatch, "--config.steps=1e3", "--config.teacher.runs=~/a,/b", "--config.data.corpus=text:~/books",
        "--config.task.folder=~/task", "--config", f"{root}/configs/bert.py:tiny", "--config.init.run=~/run",
    )  # fmt: skip
    home = str(tmp_path)
    assert (config.steps, config.teacher.runs) == (1000, (f"{home}/a", "/b"))
    assert (config.data.corpus, config.task.folder) == (f"text:{home}/books", f"{home}/task")
    assert (config.init.run, config.variant) == (f"{home}/run", "bert:tiny")


OWN = {
    "unknown key": ("c.model.foo = 1", "own.py has an unknown key model.foo"),
    "near": ("c.stps = 1", "own.py has an unknown key stps; did you mean --config.steps"),
    "none": ("c = None", "own.py gives NoneType: begin with ssl_jax.config.base()"),
    "a dict": ("c = {}", "own.py gives dict: begin with ssl_jax.config.base()"),
    "its own error": ("c = 1 / 0", "the config file fails: ZeroDivisionError"),
}


@pytest.mark.parametrize("kind", OWN)
def test_a_config_file_of_ones_own_is_read_or_refused_with_one_line(kind, monkeypatch, tmp_path, capsys):
    line, message = OWN[kind]
    path = tmp_path / "own.py"
    path.write_text(f"from ssl_jax.config import base\ndef get_config():\n    c = base()\n    {line}\n    return c\n")
    with pytest.raises(SystemExit) as left:
        parsed(monkeypatch, f"--config={path}")
    told = capsys.readouterr().err
    assert left.value.code == 2 and message in told and told.count("\n") == 1
    path.write_text("from ssl_jax.config import base as get_config\n")
    assert parsed(monkeypatch, f"--config={path}").variant == str(path)


def test_every_key_is_documented():
    docs = schema.docs()
    assert not [key for key, _ in flat(schema.base()) if not docs.get(key)]
    assert docs["optimizer.warmup"].startswith("up to 1 a share of the clock's total; above 1")
    assert docs["model.ffn_size"] == "0: four times the hidden size"


@pytest.mark.parametrize("paper", ADDED)
def test_sizes_between_the_demo_and_the_paper(paper):
    """The layers have the parameters that their shapes make, the config fits itself, and fine-tuning takes it."""
    module = ALL[paper]
    assert {size for size in common.MINIATURES if module.SIZES.get(size, {}).get("hidden_size", 0) <= 512} >= {"tiny"}
    for size in ADDED[paper]:
        config = checks.settle(module.get_config(size))
        width, layers = config.model.hidden_size, 1 if paper == "albert" else config.model.layers
        half = 2 if paper == "distilbert" else 1
        shape = (config.model.layers * half, width, config.model.heads)
        assert shape == tuple(common.MINIATURES[size].values()), size
        shapes = describe(config)["parts"]
        assert shapes["encoder.layers"] == layers * (12 * width**2 + 13 * width), size
        checks.settle(finetune.get_config(f"{paper}-{size},rte"))


def test_what_a_run_will_do_in_a_few_lines():
    config = gpt2.get_config("demo")
    config.steps = 100
    counts = {"documents": 10, "sentences": 200, "tokens": 51_200}
    lines = plan.overview(config, "runs/a", 1_234_567, ["cpu", "cpu"], counts)
    assert [re.split("  +", line, maxsplit=1) for line in lines] == [
        ["config", "gpt2:demo"],
        ["parameters", "1,234,567"],
        ["devices", "2 x cpu"],
        ["training data", "demo: 10 documents, 200 sentences, 51,200 tokens"],
        ["tokenizer", "byte_bpe of the corpus, 4,096 pieces"],
        ["length", "100 steps of 16 x 64 tokens: 102,400 tokens, 2 epochs"],
        ["starts from", "random values, seed 0"],
        ["folder", "runs/a"],
    ]
    assert len({len(line) - len(line[13:].lstrip()) for line in lines}) == 1  # aligned
    task = finetune.get_config("bert-base,rte")
    task.update(dict(steps=234, seeds=3, init=dict(run="runs/bert")))
    lines = plan.overview(task, "w", 1, ["gpu"], {"examples": 2490})
    assert lines[3] == "training data  task rte: 2,490 examples" and lines[5].endswith(", 3.01 epochs")
    assert lines[6] == "starts from    runs/bert"


def test_several_values_are_pythons_or_plain_words(monkeypatch):
    monkeypatch.setattr(sys, "argv", [
        "train.py", "--config.teacher.runs=/tmp/a,runs/b", "--config.init.drop=pair,pooler", "--config.init.fresh=",
        "--config.optimizer.lr_multipliers=^classifier=10,(?=emb)=0.5", "--config.phases.lengths=128,512",
        "--config.init.rename='a=b','c=d'", "--config.task.labels=yes", "--config.phases.shares=(0.5, 0.5)",
    ])  # fmt: skip
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", bert.get_config("base"), flag_values=values)
    config = values(sys.argv) and values.config
    assert config.teacher.runs == ("/tmp/a", "runs/b") and config.init.drop == ("pair", "pooler")
    assert config.init.fresh == () and config.optimizer.lr_multipliers == ("^classifier=10", "(?=emb)=0.5")
    assert config.phases.lengths == (128, 512) and config.init.rename == ("a=b", "c=d")
    assert config.task.labels == ("yes",) and config.phases.shares == (0.5, 0.5)


def test_a_missing_workdir_flag_is_one_line(root):
    done = run(root, "train.py", f"--config={root}/configs/bert.py:tiny,smoke")
    assert done.returncode == 2 and "workdir" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "given",
    [
        {"process_count": 2, "process_index": 1},
        {"coordinator": "localhost:1"},
        {"coordinator": "auto", "process_index": 0},
    ],
)
def test_half_of_what_several_processes_need_is_refused(given):
    with pytest.raises(UserError, match="all of --coordinator HOST:PORT, --process_count and --process_index"):
        parallel.initialise(**given)


def test_half_of_the_flags_of_several_processes_is_one_line(root, tmp_path):
    command = (f"--config={root}/configs/bert.py:tiny,smoke", f"--workdir={tmp_path}/run", "--process_count=2")
    done = run(root, "train.py", *command)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "all of --coordinator HOST:PORT, --process_count and --process_index" in done.stderr
    assert not (tmp_path / "run").exists()


def test_help_names_the_flags(root):
    told = run(root, "train.py", "--config.steps=7", f"--config={root}/configs/bert.py:base", "--help").stdout
    assert "--workdir" in told and "Trains a config" in told
    assert re.search(r"^  optimizer.warmup=10000.0 +up to 1 a share of the clock's total", told, re.MULTILINE)
    assert re.search(r"^  model.layers=12 +how many blocks$", told, re.MULTILINE)


def test_search_spaces_are_the_papers_and_hold_their_recipes():
    """BERT, section 4.1 and A.3; ELECTRA, appendix B; TinyBERT and PKD, section 4.2. What a recipe has is a point of it."""
    sizes = {"bert": 4, "bert-ranges": 3 * 2 * 3, "electra-small": 4, "electra-base": 4 * 3, "pkd": 3 * 4}
    assert {name: len(points) for name, points in finetune.SWEEPS.items()} == sizes
    assert len(tinybert.SWEEPS["prediction"]) == 3 * 2
    variants = {"bert": "bert-base,mnli", "bert-ranges": "bert-base,mnli", "pkd": "bert-base,mnli,pkd6"}
    found = [
        (points, finetune.get_config(variants.get(name, f"{name},mnli"))) for name, points in finetune.SWEEPS.items()
    ]
    found.append((tinybert.SWEEPS["prediction"], tinybert.get_config("4-312,prediction,mnli")))
    for points, recipe in found:
        values = dict(flat(recipe))
        for key in points[0]:
            assert values[key] in [point[key] for point in points], key
