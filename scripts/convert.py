"""Converts weights: Hugging Face folders, Google's checkpoints, and our runs.

    python scripts/convert.py from_hf DIR W          a transformers model as a run: generate, init.run, teacher.runs
    python scripts/convert.py from_google DIR W      the same for Google's TensorFlow checkpoints (extra `google`)
    python scripts/convert.py to_hf W DIR            a run as a transformers model
    python scripts/convert.py check [DIR]            compares with transformers itself, both ways (extra `test`)

BERT, ALBERT, ELECTRA, DistilBERT, TinyBERT, GPT-1, GPT-2, with the heads that either side has. `init.run` and
`teacher.runs` also take a transformers folder directly. ELECTRA's halves are `discriminator` and `generator` in DIR, or
DIR and `--generator`. Weights with no counterpart on the other side are an error that names them; `--drop` omits them.

Rows that pad the table beyond the tokenizer's entries are dropped: up to a multiple of at most 128 by default, more
with `--padded`. Classes without names in DIR (LABEL_0, ...; Google's checkpoints) are named by `--labels`, in the
order of the classifier's rows: MNLI's in Google's run_classifier.py are contradiction,entailment,neutral. Runs that
start or learn from this one then match classes by name.
"""

import tempfile

from absl import flags

from ssl_jax import command_line
from ssl_jax.errors import UserError, check_choice, listed
from ssl_jax.files import require_new

DROP = flags.DEFINE_list("drop", [], "names of tensors, or what they begin with, that are left out")
GENERATOR = command_line.define_path("generator", None, "from_hf: ELECTRA's generator, where DIR is the discriminator")
PADDED = flags.DEFINE_bool("padded", False, "from_hf, from_google: leave out all rows behind the tokenizer's entries")
LABELS = flags.DEFINE_list("labels", [], "from_hf, from_google: names of the classes, in the order of their rows")
FAMILY = flags.DEFINE_string("family", "", "to_hf: the model_type, where the trunk alone does not tell")
COMMANDS = {"from_hf": "DIR W", "from_google": "DIR W", "to_hf": "W DIR", "check": "[DIR]"}
TOLERANCE = 1e-5  # for float32 logits, whose values are a few units
USAGE = "; ".join(f"{name} {arguments}" for name, arguments in COMMANDS.items())


def main(command, *folders):
    check_choice(command, COMMANDS, "command")
    wanted = COMMANDS[command].split()
    if len(folders) > len(wanted) or len(folders) < sum(not name.startswith("[") for name in wanted):
        raise UserError(f"{command} takes {COMMANDS[command]}, not {' '.join(folders) or 'nothing'}")

    from ssl_jax import parallel  # after the flags, here and below: typos fail before jax loads

    parallel.initialise()
    if command == "check":
        check(*folders)
    elif command == "to_hf":
        to_hf(*folders)
    else:
        take_in(command, *folders)


def take_in(command, source, workdir):
    """Reads an external model and writes it as a run."""
    from ssl_jax import runs
    from ssl_jax.interop import huggingface

    require_new(workdir)
    if command == "from_google":
        from ssl_jax.interop import google

        run = google.load(source, drop=DROP.value, padded=PADDED.value)
    else:
        run = huggingface.load(source, drop=DROP.value, padded=PADDED.value)
        if GENERATOR.value:
            run = huggingface.join(run, huggingface.load(GENERATOR.value, drop=DROP.value, padded=PADDED.value))
    if LABELS.value:
        name_classes(run, LABELS.value)
    runs.save_run(run, workdir, source)
    for note in (*run.renamed, *run.notes):
        print(f"  {note}")
    print(f"{source} -> {workdir}: {describe(run)}")


def name_classes(run, labels):
    """Adds class names to a run's config.

    Raises:
      UserError: it has other names, or a different number of classes.
    """
    known, classes = run.config.task.labels, run.model.options.classes
    if len(set(labels)) != len(labels) or len(labels) != classes:
        raise UserError(f"--labels={listed(labels, 8)}: {run.workdir} has {classes} classes, each needs its own name")
    if known and any(name != f"LABEL_{number}" for number, name in enumerate(known)):
        raise UserError(f"--labels is for classes without names, and {run.workdir} has {listed(known, 8)}")
    run.config.task.labels = tuple(labels)


def describe(run):
    """'heads mlm, pair; 109,482,240 parameters; 30,522 entries in the tokenizer'"""
    import jax

    from ssl_jax.flops import count_parameters

    heads = ", ".join(run.model.heads) or "none"
    return (
        f"heads {heads}; {count_parameters(run.params):,} parameters in {len(jax.tree.leaves(run.params))} arrays; "
        f"{run.vocabulary.size:,} entries in the tokenizer"
    )


def to_hf(workdir, folder):
    """Writes a run as a transformers folder, or two for ELECTRA."""
    from ssl_jax.interop import huggingface
    from ssl_jax.load import load_run

    require_new(folder)
    made = huggingface.save(load_run(workdir), folder, DROP.value, FAMILY.value)
    for half, (name, tensors, left_out) in made.items():  # noqa: B007, the same for both halves
        print(f"{workdir} -> {folder}{'/' + half if half else ''}: {name}, {tensors} tensors")
    if left_out:
        print(f"  left out: {', '.join(left_out)}")


def check(folder=None):
    """Converts a transformers folder, or tiny ones of every kind, both ways, and compares with transformers itself."""
    from ssl_jax.interop import check

    with tempfile.TemporaryDirectory() as scratch:
        folders = [(folder, folder)] if folder else check.random_folders(scratch)
        compared = [(label, check.compare(path)) for label, path in folders]
    for line in check.table(compared):
        print(line)
    wrong = [label for label, one in compared if not one.equal or max(one.inward, one.outward) > TOLERANCE]
    if wrong:
        raise UserError(f"not the same on both sides: {', '.join(wrong)}")


if __name__ == "__main__":
    command_line.run(main, USAGE)
