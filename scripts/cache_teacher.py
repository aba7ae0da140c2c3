"""Runs a student's teachers over all examples that it will see, once, and keeps what its losses read.

    STUDENT="--config configs/distilbert.py:base --config.teacher.runs=runs/bert-base"
    scripts/cache_teacher.py $STUDENT --output runs/cache
    scripts/train.py $STUDENT --config.teacher.cache=runs/cache --workdir runs/distilbert

The run must have the same data, masking, seed and sequence length, and no more steps; see ssl_jax/distill/cache.py. A
batch is computed in `run.accumulate` pieces. What was interrupted goes on with the same command.
"""

from pathlib import Path

from absl import flags

from ssl_jax import command_line

CONFIG = command_line.define_config()
OUTPUT = command_line.define_path("output", None, "the folder to write", required=True)
TOP_K = flags.DEFINE_integer("top_k", 64, "how many of a token's logits are kept; 0: all", lower_bound=0)
DTYPE = flags.DEFINE_enum("dtype", "float16", ("float16", "float32"), "of everything but ids")


def cache(config, folder, top_k, dtype):
    """Writes the cache that `config` asks for; see `teacher_cache.write_cache`, whose result it returns."""
    from ssl_jax import experiment
    from ssl_jax.distill import cache as teacher_cache
    from ssl_jax.errors import UserError
    from ssl_jax.objectives import taught
    from ssl_jax.step import make_corrupt

    config = config.copy_and_resolve_references()
    config.teacher.cache = ""  # it is not there yet
    exp = experiment.open(config)
    config, names = exp.config, taught(exp.config)
    if exp.population.several:
        raise UserError("a cache has the examples of one seed, in its order: set seeds=1 and no members")
    if not exp.teachers:
        raise UserError("no loss of this config compares with a teacher: there is nothing to cache")
    top_k = top_k if "token_logits" in names and top_k < exp.vocabulary.size else 0
    identity = dict(
        made_of=teacher_cache.passport(config, exp.fingerprint, exp.kind, exp.teacher_models),
        precision=dict(top_k=top_k, dtype=dtype),
        temperature=config.teacher.temperature,
        names=names,
    )
    corrupt = make_corrupt(config, exp.vocabulary, exp.counts)
    rows = teacher_cache.make_rows(config, corrupt, exp.teach, top_k, dtype)
    parts = teacher_cache.parts(config, exp.kind, exp.phases, exp.examples, exp.stores, exp.vocabulary)
    return teacher_cache.write_cache(folder, identity, parts, rows, exp.devices, exp.teachers, config.run.accumulate)


def main():
    config, lines = command_line.settled()

    from ssl_jax import logs, parallel  # after the flags: a typing error need not wait for jax

    parallel.initialise()
    for line in lines:
        logs.say(line)
    content = cache(config, OUTPUT.value, TOP_K.value, DTYPE.value)
    size = sum(path.stat().st_size for path in Path(OUTPUT.value).rglob("*.npy"))
    print(f"{OUTPUT.value}: {size / 1e6:,.1f} MB")
    for part, arrays in content["arrays"].items():
        for name, array in arrays.items():
            print(f"  {part}/{name:<13} {array['dtype']:<8} {array['shape']}")
    if content["kept"]:
        print(
            "of the teacher's probability at temperature {temperature:g} the {top_k} largest logits keep {mean:.4%} on "
            "average, {least:.4%} at least".format(**content["kept"], **content["precision"])
        )


if __name__ == "__main__":
    command_line.run(main)
