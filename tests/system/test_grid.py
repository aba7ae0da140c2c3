"""A grid's points are runs of their own; the best on the development set is told."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from configs import finetune
from ssl_jax.load import read_config
from tests.unit.test_tasks import write_lines

# A grid of two points: once, a second time, one or both diverging, with made-up results of two seeds, what is refused.
SCRIPT = """
import runpy
from absl import flags
from configs import bert, finetune
from ssl_jax import command_line, errors, statistics, train

finetune.GRIDS["two"] = {"optimizer.learning_rate": (1e-9, 1e-2), "batch_size": (4,)}
script = runpy.run_path("scripts/grid.py", run_name="script")
main = script["main"]
command_line.run(main)
print("----")
import pathlib
old = pathlib.Path(flags.FLAGS.workdir, "learning_rate=3_batch_size=4")
old.mkdir()
(old / "result.json").write_text("{}")
main()
(old / "result.json").unlink()
print("----")
def made_up(config, workdir):
    results = [{"step": 1, "score": config.optimizer.learning_rate * seed} for seed in (1, 4)]
    return statistics.summary(results, (1, 4), config.task.statistic)

def diverging(config, workdir):
    if config.seed == 7 or config.optimizer.learning_rate == 1e-2:
        raise errors.NotFiniteError("the loss is not finite")
    return made_up(config, workdir)

train.train = diverging
main()
flags.FLAGS.config.seed = 7
try:
    main()
except errors.UserError as error:
    print(error)
print("----")
train.train = made_up
main()
for values in (
    {"optimizer.schedule": ("linear", "cosine"), "model.scan": (True, False)},
    {"phases.lengths": ((16,), (8, 16)), "optimizer.learning_rate": (0.12345678, 0.12345679)},
    {"init.run": ("runs/a", "runs-a", "x" * 300)},
    {"optimizer.schedule": "linear"},
    {"optimizer.learning_rate": 1e-4},
    {"optimizer.learning_rate": ("fast",)},
    {"optimizer.learning_rat": (1e-4,)},
    {"batch_size": (True,)},
    {"batch_size": (1.5,)},
    {"model.scan": (1,)},
    {"init.run": (None,)},
    {"batch_size": (4, 4)},
    {"optimizer.learning_rate": (1e-4, 10**400)},
    {"optimizer.learning_rate": (1e-4, float("nan"))},
    {"optimizer.learning_rate": (1e-4, -1.0)},
    {"data.tokenizer.add": (("\\ud800",),)},
    {},
):
    print("## ", end="")
    try:
        script["check"](values, flags.FLAGS.config, "g")
        print(*(folder for folder, _ in script["points"](values)))
    except errors.UserError as error:
        print(error)
finetune.GRIDS["late"] = {"model.hidden_size": (64, 65)}  # of which only the config as a whole says that it does not fit
def untrained(config, workdir):
    raise AssertionError("a point was trained")

train.train = untrained
smoke = bert.get_config("tiny,smoke")
for config, grid in ((flags.FLAGS.config, "tow"), (smoke, "two"), (flags.FLAGS.config, "late")):
    try:
        script["search"](config, grid, "nowhere")
    except errors.UserError as error:
        print("----\\n", error, sep="")
"""


def test_all_points_are_trained_once_and_the_best_is_told(root, data_root, tmp_path):
    lines = [{"text": f"it is {word} .", "label": word} for word in ("london", "one")]
    for split in ("train", "heldout"):
        write_lines(tmp_path / f"{split}.jsonl", lines)
    config = {"task.folder": tmp_path, "data.root": data_root, "steps": 30, "model.layers": 1, "phases.lengths": "16,",
              "parallel.devices": 1, "run.log_every": 30, "run.evaluate_every": 30, "run.checkpoint_every": 30,
              "model.dropout": 0.0, "model.attention_dropout": 0.0}  # fmt: skip
    command = ["--config=configs/finetune.py:bert-tiny,jsonl,smoke", "--grid=two", f"--workdir={tmp_path}/grid"]
    command += [f"--config.{name}={value}" for name, value in config.items()]
    command = [sys.executable, "-c", SCRIPT, *command]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, again, diverged, seeds, *refused = done.stdout.split("----\n")
    seeds, *checked = re.split("^## ", seeds, flags=re.MULTILINE)

    folders = ["learning_rate=1e-09_batch_size=4", "learning_rate=0.01_batch_size=4"]
    for folder, rate in zip(folders, (1e-9, 1e-2), strict=True):
        made = read_config(tmp_path / "grid" / folder)
        assert (made.optimizer.learning_rate, made.batch_size) == (rate, 4)
    scores = [json.loads((tmp_path / "grid" / folder / "result.json").read_text())["score"] for folder in folders]
    assert scores == [0.5, 1.0]  # where hardly anything moves nothing is learned
    reasons = [
        json.loads((tmp_path / "grid" / folder / "result.json").read_text()).get("learned_nothing")
        for folder in folders
    ]
    assert reasons == ["accuracy is 0.5, and with the most frequent label for every example 0.5", None]
    assert first.count(f"the run learned nothing: {reasons[0]}; try a pre-trained start (init.run), another") == 1
    table = [line.split() for line in first.splitlines()[-3:]]
    assert table == [["score"], [folders[0], "0.5"], [f"{folders[1]}*", "1"]]

    # A second time no step is taken; what an earlier grid left there is named.
    assert "has points that the grid no longer has, which are not compared: learning_rate=3_batch_size=4" in again
    assert "no longer has" not in first
    assert first.count("started at step 0 of 30") == 2 and again.count("finished at step 30: ") == 2
    assert first.count("step 30  train") == 2 and "  train  " not in again
    assert [line.split() for line in again.splitlines()[-3:]] == table

    # One that diverges loses against any other, and the rest goes on.
    *told, none = [line.split() for line in diverged.splitlines()]
    assert [folders[1], *["diverged"] * 3] in told and [f"{folders[0]}*", "4e-09", "2.5e-09"] in [
        one[:3] for one in told
    ]
    assert " ".join(none).startswith("all 2 points of grid two diverge; the last one: the loss is not finite")
    found = json.loads((tmp_path / "grid/grid.json").read_text())
    assert (found["grid"], found["best"]) == ("two", folders[1])
    for one, folder, rate in zip(found["points"], folders, (1e-9, 1e-2), strict=True):
        assert one["point"] == folder and one["changes"] == {"optimizer.learning_rate": rate, "batch_size": 4}
        # BERT's statistic is the best one.
        assert [one[name] for name in ("score", "mean", "sd")] == pytest.approx([4 * rate, 2.5 * rate, 4.5**0.5 * rate])
    assert seeds.splitlines()[-3].split() == ["score", "mean", "sd"]
    checked = [line.strip() for line in checked]
    assert checked[:2] == [
        "schedule=linear_scan=True schedule=linear_scan=False schedule=cosine_scan=True schedule=cosine_scan=False",
        "lengths=16_learning_rate=0.12345678 lengths=16_learning_rate=0.12345679 "
        "lengths=8,16_learning_rate=0.12345678 lengths=8,16_learning_rate=0.12345679",
    ]
    slashes, plain, long = checked[2].split(" ")  # folders of their own, whose names any file system takes
    assert re.fullmatch("init.run=runs-a-[0-9a-f]{8}", slashes) and plain == "init.run=runs-a" and len(long) < 120
    wanted = [
        "grid g: optimizer.schedule has 'linear', and should have several values in a tuple",
        "grid g: optimizer.learning_rate has 0.0001, and should have several values in a tuple",
        "grid g: optimizer.learning_rate cannot be 'fast': its values are of type float",
        "unknown key of grid g 'optimizer.learning_rat'; did you mean 'optimizer.learning_rate'?",
        "grid g: batch_size cannot be True: its values are of type int",
        "grid g: batch_size cannot be 1.5: its values are of type int",
        "grid g: model.scan cannot be 1: its values are of type bool",
        "grid g: init.run cannot be None: its values are of type str",
        "grid g has the point batch_size=4 twice",
        "grid g: optimizer.learning_rate cannot be 1000",
        "optimizer.learning_rate=nan: ",
        "optimizer.learning_rate=-1.0: at least 0",
        "data.tokenizer.add='\\ud800': it has bytes that are not UTF-8",
        "grid g has no keys",
    ]
    assert len(checked) == 3 + len(wanted)
    assert all(line.startswith(start) for line, start in zip(checked[3:], wanted, strict=True)), checked[3:]
    assert refused[0].startswith("unknown grid 'tow'; did you mean 'two'")
    assert refused[1].startswith("a grid is compared by the score of a task")
    assert refused[2].startswith("model.hidden_size=65"), refused


def test_grids_are_the_papers_and_hold_their_recipes():
    """BERT, section 4.1 and A.3; ELECTRA, appendix B. What a recipe has is a point of its grid."""
    sizes = {"bert": 4, "bert-ranges": 3 * 2 * 3, "electra-small": 4, "electra-base": 4 * 3}
    assert {name: int(np.prod([len(of) for of in grid.values()])) for name, grid in finetune.GRIDS.items()} == sizes
    for name, grid in finetune.GRIDS.items():
        recipe = finetune.get_config(f"{'bert-base' if name.startswith('bert') else name},mnli")
        for key, values in grid.items():
            block, _, last = key.rpartition(".")
            assert (recipe[block] if block else recipe)[last] in values, (name, key)
