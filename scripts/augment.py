"""Augments a task's training examples with a run's masked language model, as TinyBERT does.

    python scripts/augment.py --config configs/finetune.py:bert-demo,topics --masked_lm runs/bert \
        --vectors glove.6B.300d.txt --output augmented.jsonl

Training reads the file with --config.task.augmented=augmented.jsonl. See ssl_jax/tasks/augmentation.py for what the
paper and its released code do.
"""

from absl import flags
from tqdm import tqdm

from ssl_jax import command_line
from ssl_jax.errors import UserError

CONFIG = command_line.define_config()
MASKED_LM = command_line.define_path("masked_lm", None, "folder of a run with a masked language model", required=True)
VECTORS = command_line.define_path("vectors", None, "word vectors, GloVe's text; none: words of several pieces stay")
MOST_VECTORS = flags.DEFINE_integer("most_vectors", 100_000, "read the first so many; 0: all", lower_bound=0)
OUTPUT = command_line.define_path("output", None, "the .jsonl file to write", required=True)
OPTIONS = {
    "copies": flags.DEFINE_integer("copies", 20, "of each example (N_a)", lower_bound=1),
    "threshold": flags.DEFINE_float("threshold", 0.4, "the probability that a word is replaced (p_t)", 0.0, 1.0),
    "candidates": flags.DEFINE_integer("candidates", 15, "of which one takes a word's place (K)", lower_bound=1),
    "seed": flags.DEFINE_integer("seed", 0, "of the random choices", lower_bound=0),
    "variant": flags.DEFINE_string("variant", "paper", "Algorithm 1 of the paper, or 'release': its released code"),
}


def main():
    if VECTORS.value is None and MOST_VECTORS.present:
        raise UserError("--most_vectors is for --vectors: give both")

    from ssl_jax import tasks  # after the flags: a typing error need not wait for jax
    from ssl_jax.load import load_run
    from ssl_jax.tasks import augmentation

    config = CONFIG.value
    config.task.augmented = ""  # what is augmented are the originals
    task = tasks.read(config)
    for note in task.notes.get("train", ()):
        print(f"train: {note}")
    vectors = None
    if VECTORS.value is not None:
        vectors = augmentation.read_vectors(VECTORS.value, MOST_VECTORS.value)
    options = {name: flag.value for name, flag in OPTIONS.items()}
    bar = tqdm(task.splits["train"], "augmenting", unit="example", disable=None)
    augmented, counts = augmentation.augment(bar, load_run(MASKED_LM.value), vectors, **options)
    tasks.write_examples(OUTPUT.value, augmented, task.labels)
    print(OUTPUT.value)
    for line in counts.lines():
        print(f"  {line}")


if __name__ == "__main__":
    command_line.run(main)
