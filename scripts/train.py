"""Trains a config, or goes on where it stopped.

    python scripts/train.py --config configs/bert.py:tiny,smoke --workdir runs/smoke
    python scripts/train.py --config configs/bert.py:base --config.steps=100000 --workdir runs/base

On several hosts the same command runs on each, with --coordinator HOST:PORT, --process_count N and
--process_index I, or with --coordinator auto where JAX finds out by itself (SLURM, Cloud TPU, GKE).
"""

from absl import flags

from ssl_jax import command_line

CONFIG = command_line.define_config()
WORKDIR = command_line.define_path("workdir", None, "the run's folder", required=True)
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, or auto")
PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "how many processes run together")
PROCESS_INDEX = flags.DEFINE_integer("process_index", None, "which of them this is, from 0")


def main():
    config, lines = command_line.settled(WORKDIR.value)

    from ssl_jax import logs, parallel, train  # after the flags: a typing error need not wait for jax

    parallel.initialise(COORDINATOR.value, PROCESS_COUNT.value, PROCESS_INDEX.value)
    for line in lines:
        logs.say(line)
    train.train(config, WORKDIR.value)


if __name__ == "__main__":
    command_line.run(main)
