"""Runs a student's teachers over all examples that it will see, once, and keeps what its losses read.

    STUDENT="--config configs/distilbert.py:base --config.teacher.runs=runs/bert-base"
    scripts/cache_teacher.py $STUDENT --output runs/cache
    scripts/train.py $STUDENT --config.teacher.cache=runs/cache --workdir runs/distilbert

The run must have the same data, masking, seed and sequence length, and no more steps; see ssl_jax/teacher_cache.py. A
batch is computed in `accumulate` pieces. What was interrupted goes on with the same command.
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
    from ssl_jax import distill, parallel, plan, source, teacher_cache, tokenizers, train
    from ssl_jax.data import tasks, tokens
    from ssl_jax.errors import UserError

    config = tasks.resolve(plan.settle(source.resolve(source.resolve_teacher(config))))
    devices = parallel.build_parallel(config.parallel)
    phases, kind = plan.plan_phases(config), plan.example_kind(config)
    plan.check(config, phases, devices)

    prepared = Path(tokens.prepare(config.data))
    tokenizer = tokenizers.load(prepared / "tokenizer.json")
    vocabulary = tokenizers.vocabulary(tokenizer)
    plan.check_vocabulary(config, vocabulary)
    counts = train.token_counts(config, prepared, vocabulary)
    stores = train.open_stores(config, kind, prepared)
    examples = train.training_examples(config, kind, phases, stores["train"], vocabulary)
    teachers = distill.load_teachers(config, tokenizers.identity(tokenizer), devices)
    if not teachers:
        raise UserError("no loss of this config compares with a teacher: there is nothing to cache")

    names = distill.taught(config)
    top_k = top_k if "token_logits" in names and top_k < vocabulary.size else 0
    decided, masked = train.decisive(config, prepared, stores, teachers), plan.masks(config)
    identity = dict(
        made_of=teacher_cache.passport(config, decided, kind, masked, teachers),
        precision=dict(top_k=top_k, dtype=dtype),
        temperature=config.teacher.temperature,
        names=names,
    )
    corrupt = train.make_corrupt(config, vocabulary, counts)
    rows = teacher_cache.make_rows(config, corrupt, distill.make_teach(config, teachers), top_k, dtype)
    parts = teacher_cache.parts(config, kind, phases, examples, stores, vocabulary)
    params = [devices.adopt(run.params) for run in teachers]
    return teacher_cache.write_cache(folder, identity, parts, rows, devices, params, config.accumulate)


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
