"""What the user can mend is one line and a non-zero exit code, and nothing is half-written."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssl_jax.data import tokens
from ssl_jax.errors import UserError
from ssl_jax.load import load_run
from ssl_jax.tokenization import files as tokenizer_files
from ssl_jax.train import train
from tests.conftest import run_here


def command(root, data_root, workdir, *arguments):
    return [
        sys.executable,
        str(root / "scripts/train.py"),
        f"--config={root}/configs/bert.py:tiny,smoke",
        f"--config.data.root={data_root}",
        f"--workdir={workdir}",
        *arguments,
    ]


def run(root, data_root, workdir, *arguments, before=()):
    words = [*before, *command(root, data_root, workdir, *arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def assert_one_line(done, message, code=1):
    assert done.returncode == code, done.stderr
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    "changes, message",
    [
        ([("steps", 0)], "steps=0: at least 1"),
        ([("run.log_every", -1)], "run.log_every=-1: at least 0"),
        ([("run.checkpoint_minutes", -1.0)], "run.checkpoint_minutes=-1.0: at least 0"),
        ([("seed", 2**32)], "seed=4294967296: at most 4,294,967,295"),
        ([("evals.heldout.max_batches", -1)], "evals.heldout.max_batches=-1: at least 0"),
        ([("seed", -1)], "seed=-1: at least 0"),
        ([("model.dropout", 1.0)], "model.dropout=1.0: a share lies between 0 and 1"),
        ([("corruption.random", 0.3)], "at most 1 together"),
        ([("optimizer.grad_clip_norm", 0.0)], "optimizer.grad_clip_norm=0.0"),
        ([("losses.mlm", 0.0), ("losses.nsp", 0.0)], "all losses have weight 0"),
        ([("model.pooler", "none")], "set model.pooler=tanh"),
        ([("model.dtype", "bf16")], "unknown model.dtype 'bf16'"),
        ([("model.heads", 0)], "model.heads=0: at least 1"),
        ([("evals.heldout.module", "maen")], "did you mean 'mean'"),
        ([("evals.heldout.module", "task")], "evals.heldout.module=task needs a loss on a task's labels"),
        ([("evals.heldout.split", "test")], "unknown split of an evaluation 'test'"),
        ([("data.heldout", 0.0)], "heldout has 0 documents"),
        ([("data.tokenizer.kind", "byte_bpe")], "the tokenizer has no token for"),
        ([("phases.lengths", (32, 65))], "longer than model.max_positions=64"),
        ([("data.corpus", "text:/nowhere")], "/nowhere"),
        ([("data.corpus", "/tmp")], "texts in files and folders are text:PATH, as text:/tmp"),
        ([("data.tokenizer.path", "/nowhere/tokenizer.json")], "/nowhere/tokenizer.json"),
        ([("data.examples", "window")], "did you mean 'windows'"),
        ([("data.tokenizer.kind", "wordpeice")], "did you mean 'wordpiece'"),
        ([("loss_average", "core")], "unknown loss_average 'core'"),
        ([("optimizer.schedule", "cosin")], "unknown optimizer.schedule 'cosin'"),
        ([("phases.lengths", ("a",))], "phases.lengths=('a',): 'a' is none of the whole numbers"),
        ([("phases.shares", ("a",))], "'a' is none of the numbers"),
        ([("teacher.runs", (3,))], "teacher.runs=(3,): 3 is none of the words"),
        ([("task.statistic", "medain")], "unknown task.statistic 'medain'; did you mean 'median'"),
        ([("data.tokenizer.add", ("a\udcff",))], r"data.tokenizer.add='a\udcff': it has bytes that are not UTF-8"),
        ([("variant", "a\udcff")], r"variant='a\udcff': it has bytes that are not UTF-8"),
        ([("data.corpus", "text:/no\nwhere\udcff")], r"/no\nwhere\udcff"),
    ],
)
def test_values_that_do_not_fit_are_refused_before_anything_runs(changes, message, smoke_config, tmp_path):
    with pytest.raises(UserError) as told:
        train(smoke_config(*changes), tmp_path / "runs" / "refused")
    assert message in str(told.value) and "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_an_empty_corpus_is_one_line(root, data_root, tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "empty.txt").touch()
    done = run(root, data_root, tmp_path / "run", f"--config.data.corpus=text:{tmp_path}/text")
    assert_one_line(done, str(tmp_path / "text"))


@pytest.mark.parametrize(
    "argument, place",
    [
        (f"--config.optimizer.epsilon={'x' * 3000}", "optimizer.epsilon"),
        (f"--config.model.vocab_size={'9' * 5000}", "model.vocab_size"),
        (f"--config.init.run={'x' * 3000}", "xxx"),
    ],
)
def test_a_value_of_thousands_of_letters_is_cut_in_the_message(root, data_root, tmp_path, argument, place):
    done = run_here(command(root, data_root, tmp_path / "run", argument))
    assert (
        done.returncode in (1, 2) and done.stderr.count("\n") == 1 and place in done.stderr and len(done.stderr) < 700
    )


def test_arguments_of_bytes_that_are_no_text_are_refused_and_files_with_such_names_are_read(
    root, data_root, tmp_path, monkeypatch
):
    """Where Python's output is strict, as it is in most languages of a system."""
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    assert_one_line(run(root, data_root, f"{tmp_path}/\udcff"), r"\udcff' has bytes that are not UTF-8", 2)
    (tmp_path / "text").mkdir()
    (tmp_path / "text/\udcff.txt").write_bytes(b"\xff")
    done = run(root, data_root, tmp_path / "run", f"--config.data.corpus=text:{tmp_path}/text")
    assert_one_line(done, r"text/\udcff.txt")
    assert not (tmp_path / "run").exists()


def test_a_workdir_is_needed_and_an_empty_one_is_none(root, data_root):
    assert_one_line(run_here(command(root, data_root, "")), "--workdir=: a path is needed", 2)
    words = [sys.executable, str(root / "scripts/train.py"), f"--config={root}/configs/bert.py:tiny,smoke"]
    assert_one_line(subprocess.run(words, capture_output=True, text=True, check=False), "--workdir is missing", 2)


def test_a_workdir_that_cannot_be_written_is_one_line(root, data_root):
    assert_one_line(run(root, data_root, "/proc/run"), "/proc/run")


def test_a_full_disk_is_one_line_and_the_next_try_succeeds(root, data_root, tmp_path, smoke_config):
    tokens.prepare(smoke_config().data)  # larger than that
    # No file may grow beyond 97 KiB: the system refuses the write as it does on a full disk.
    small_disk = ("sh", "-c", 'ulimit -f $((97 * 2)) && exec "$@"', "-")  # in blocks of 512 bytes
    # The programs of test_train.py.
    done = run(root, data_root, tmp_path, "--config.run.checkpoint_every=3", before=small_disk)
    assert_one_line(done, "cannot save a checkpoint in")
    assert not (tmp_path / "result.json").exists() and not list(tmp_path.rglob("*.part*"))
    train(smoke_config(("run.checkpoint_every", 3)), tmp_path)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"15", "18", "20"}


def test_asking_a_folder_that_holds_no_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        load_run(tmp_path)


def test_a_prepared_corpus_of_another_tokenizer_size_is_refused(smoke_config):
    config = smoke_config()
    folder = Path(tokens.prepare(config.data))
    path = folder / "tokenizer.json"
    assert tokenizer_files.load(path).get_vocab_size() == 512
    config.data.tokenizer.path = str(path)
    config.data.tokenizer.vocab_size = 600
    with pytest.raises(UserError, match="has 512 pieces"):
        tokens.prepare(config.data)
