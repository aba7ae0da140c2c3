"""Decides a task with several fine-tuned runs: averages their predictions, writes them, and prints the metrics.

python scripts/ensemble.py --workdir runs/ensemble runs/rte-1 runs/rte-2 runs/rte-3
python scripts/ensemble.py --workdir runs/ensemble --split test runs/seeds/seed-*    # a test set: the file alone
"""

from pathlib import Path

from absl import flags

from ssl_jax import command_line

WORKDIR = command_line.define_path("workdir", None, "folder of the predictions and result.json", required=True)
SPLIT = flags.DEFINE_string("split", "heldout", "the task's split that is decided")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "examples that run together", lower_bound=1)


def main(*folders):
    from ssl_jax import ensemble, files, parallel  # after the flags: a typing error need not wait for jax

    parallel.initialise()
    files.require_creatable(Path(WORKDIR.value))
    results = ensemble.decide(folders, SPLIT.value, Path(WORKDIR.value), BATCH_SIZE.value)
    files.write_json(Path(WORKDIR.value) / "result.json", {"split": SPLIT.value, "runs": list(folders), **results})
    names = list(results.get("ensemble", ()))
    for folder, values in results.items():
        print(f"{folder}: " + ", ".join(f"{name} {values[name]:.4f}" for name in names))
    print(f"predictions are in {WORKDIR.value}")


if __name__ == "__main__":
    command_line.run(main, usage="name the runs: ensemble.py --workdir W RUN RUN ...")
