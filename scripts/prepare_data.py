"""Prepares the corpus of a config: text to token ids on disk, once; training does the same if it must.

scripts/prepare_data.py --config configs/bert.py:base --config.data.corpus=wikipedia/20230601.en
"""

from absl import flags

from ssl_jax import command_line
from ssl_jax.data import tokens

CONFIG = command_line.define_config()
WORKERS = flags.DEFINE_integer("workers", None, "processes; default: one per core", lower_bound=1)


def main():
    config, lines = command_line.settled(start=False)
    print(*lines, sep="\n", end="\n" * bool(lines))
    folder = tokens.prepare(config.data, WORKERS.value)
    passport = tokens.Store(folder, "train").passport
    print(folder)
    source = passport["source"]
    print(f"  source    {source['name']}, {source['version']}, licence {source['licence']}")
    for split, counts in passport["splits"].items():
        print(f"  {split:<9} " + ", ".join(f"{number:,} {what}" for what, number in counts.items()))
    print(f"  left out  {passport['duplicates']:,} duplicates, {passport['dropped']['empty']:,} empty")
    for line in source.get("left_out", ()):
        print(f"  {line}")


if __name__ == "__main__":
    command_line.run(main)
