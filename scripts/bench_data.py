"""Times the data path: preparing a corpus beside `tokenizers` alone, masked batches beside transformers' collator.

    python scripts/bench_data.py --text books.txt     # `bench.py --row data` runs it on the demo corpus

Each side runs in a fresh process, in turn, pinned to the same cores.

    preparing       ours: from the text's file to the prepared folder; "stored", from the records that the first part of it
                    leaves. Theirs: `encode_batch_fast` of the same documents, which are in memory, a megabyte at a time.
    masked batches  ours: `batch(step)`, 256 sentence pairs of 128 tokens, and the step's masking of it; "gathered",
                    `batch(step)` alone. Theirs: DataCollatorForLanguageModeling of the same rows, as lists of token
                    ids with their special_tokens_mask.
"""

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from ssl_jax import command_line

BATCH, LENGTH, WARM_UP, TIMED = 256, 128, 3, 20
VOCABULARY, DOCUMENTS = 8192, 2000  # of the tokenizer, and how many it is trained on
SIDES = {"preparing": ("ours", "tokenizers"), "masked batches": ("ours", "transformers")}

TEXT = flags.DEFINE_string("text", None, "a file or folder of texts; default: the demo corpus")
ROUNDS = flags.DEFINE_integer("rounds", 3, "fresh processes of each side", lower_bound=1)
CORES = flags.DEFINE_integer("cores", 2, "cores that each side may use", lower_bound=1)
CHILD = flags.DEFINE_list("child", None, "measure, side and folder: print its seconds (used by this script)")


def main():
    if CHILD.value:
        measure, side, folder = CHILD.value
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: CORES.value])
        made = MEASURES[measure, side](Path(folder), CORES.value)
        if measure == "preparing":
            peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            made |= dict(peak=max(peaks) / 1e3)
        print(json.dumps(made))
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(folder)


def compare(folder):
    """Times both sides of both measures; prints a JSON line for each and a table."""
    about = child("set up", "", folder)
    print(json.dumps(dict(row="data", cores=CORES.value, **about)))
    found = {}
    for number in range(ROUNDS.value):
        for measure, sides in SIDES.items():
            for side in sides:
                made = child(measure, side, folder)
                print(json.dumps(dict(row="data", measure=measure, side=side, round=number + 1, **made)), flush=True)
                for name, value in made.items():
                    found.setdefault((measure, side, name), []).append(value)
    report(found, about)


def child(measure, side, folder):
    """What a fresh process measured: a dict."""
    cores = str(CORES.value)
    command = [sys.executable, __file__, f"--child={measure},{side},{folder}", f"--cores={cores}"]
    command += [f"--text={TEXT.value}"] if TEXT.value else []
    environment = os.environ | {"RAYON_NUM_THREADS": cores, "OMP_NUM_THREADS": cores}
    environment |= {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"error: {measure} {side} failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(found, about):
    print(
        f"\ndata: {about['bytes'] / 1e6:.1f} MB of text, {about['documents']:,} documents, {about['tokens']:,} tokens"
    )
    rows = {
        "preparing": ("tokenizers", {"wall": "from the file", "stored": "stored", "cpu": "CPU seconds, from the file"}),
        "masked batches": ("transformers", {"wall": "batch(step) and masks", "gathered": "batch(step)"}),
    }
    for measure, (peer, names) in rows.items():
        size = about["bytes"] / 1e6 if measure == "preparing" else BATCH * LENGTH / 1e6
        unit = "MB/s" if measure == "preparing" else "M tokens/s"
        print(f"{measure}, {unit}: median (smallest to largest); time of ours / theirs, round by round")
        for name, label in names.items():
            ours, theirs = found[measure, "ours", name], found[measure, peer, "cpu" if name == "cpu" else "wall"]
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            print(
                f"  {label:28}{rates(size, ours)}   {peer} {rates(size, theirs)}   {rates(1, [1 / x for x in ratios])}"
            )
    for side in SIDES["preparing"]:
        peaks = found["preparing", side, "peak"]
        print(f"  peak memory of a process, {side}: {statistics.median(peaks):.0f} MB")


def rates(size, seconds):
    made = sorted(size / value for value in seconds)
    return f"{statistics.median(made):6.2f} ({made[0]:.2f}-{made[-1]:.2f})"


def set_up(folder, cores):
    """Writes the demo corpus as a file unless there is a text, trains the tokenizer, prepares for the batches."""
    from ssl_jax.data import corpora, tokens
    from ssl_jax.tokenization import files, train

    text = TEXT.value
    if not text:
        text = folder / "articles.jsonl"
        articles = corpora.open_corpus("demo", folder / "demo")
        text.write_text("".join(json.dumps(dict(text=one)) + "\n" for one in articles.texts(0, len(articles))))
    corpus = corpora.open_corpus(f"text:{text}", folder / "batches")
    sample = list(corpus.texts(0, min(len(corpus), DOCUMENTS)))
    files.save(train.train_tokenizer("wordpiece", sample, VOCABULARY, True), folder / "tokenizer.json")
    (folder / "text").write_text(str(text))
    passport = tokens.read_passport(tokens.prepare(block(folder, "batches"), cores))
    size = sum(len(one.encode()) for one in corpus.texts(0, len(corpus)))
    made = {name: sum(split[name] for split in passport["splits"].values()) for name in ("documents", "tokens")}
    return dict(bytes=size, **made)


def block(folder, root):
    """The config's `data` block."""
    from ssl_jax.config import base

    data = base().data
    data.update(corpus=f"text:{(folder / 'text').read_text()}", root=str(folder / root))
    data.tokenizer.update(path=str(folder / "tokenizer.json"), vocab_size=VOCABULARY)
    return data


def prepare_ours(folder, cores):
    from ssl_jax.data import corpora, tokens

    with tempfile.TemporaryDirectory(dir=folder) as root:
        data, before, start = block(folder, root), cpu_seconds(), time.perf_counter()
        len(corpora.open_corpus(data.corpus, data.root))
        stored = time.perf_counter()
        tokens.prepare(data, cores)
        end = time.perf_counter()
    return dict(wall=end - start, stored=end - stored, cpu=cpu_seconds() - before)


def prepare_theirs(folder, cores):
    import tokenizers

    from ssl_jax.data import corpora

    corpus = corpora.open_corpus(f"text:{(folder / 'text').read_text()}", folder / "batches")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    groups, room = [], 0
    for text in corpus.texts(0, len(corpus)):
        if room <= 0:
            groups.append([])
            room = 1 << 20
        groups[-1].append(text)
        room -= len(text)
    gc.collect()
    before, start = cpu_seconds(), time.perf_counter()
    for group in groups:
        tokenizer.encode_batch_fast(group, add_special_tokens=False)
    return dict(wall=time.perf_counter() - start, cpu=cpu_seconds() - before)


def pairs_of(folder):
    from ssl_jax.data import batches, tokens
    from ssl_jax.tokenization import files
    from ssl_jax.tokenization.vocabulary import vocabulary_of

    data = block(folder, "batches")
    prepared = tokens.prepare(data)
    vocabulary = vocabulary_of(files.load(f"{prepared}/tokenizer.json"))
    data.dupe_factor = 1
    return batches.training_batches(
        data, "nsp", tokens.Store(prepared, "train"), vocabulary, LENGTH, BATCH, seed=0
    ), vocabulary


def timed(function):
    seconds = []
    for step in range(WARM_UP + TIMED):
        start = time.perf_counter()
        function(step)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def batches_ours(folder, cores):
    import jax

    from configs import bert
    from ssl_jax.step import make_corrupt

    batch, vocabulary = pairs_of(folder)
    corrupt = jax.jit(make_corrupt(bert.get_config("base"), vocabulary))
    return dict(wall=timed(lambda step: jax.block_until_ready(corrupt(batch(step)))), gathered=timed(batch))


def batches_theirs(folder, cores):
    import transformers

    batch, vocabulary = pairs_of(folder)
    collator = transformers.DataCollatorForLanguageModeling(
        transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", mask_token="[MASK]", cls_token="[CLS]",
            sep_token="[SEP]", unk_token="[UNK]",
        )
    )  # fmt: skip
    rows = []
    for step in range(WARM_UP + TIMED):
        made = batch(step)
        lists = [row[real].tolist() for row, real in zip(made["tokens"], made["mask"], strict=True)]
        rows.append(
            [
                dict(input_ids=row, special_tokens_mask=[int(vocabulary.special[token]) for token in row])
                for row in lists
            ]
        )
    return dict(wall=timed(lambda step: collator(rows[step])))


def cpu_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


MEASURES = {
    ("set up", ""): set_up,
    ("preparing", "ours"): prepare_ours,
    ("preparing", "tokenizers"): prepare_theirs,
    ("masked batches", "ours"): batches_ours,
    ("masked batches", "transformers"): batches_theirs,
}


if __name__ == "__main__":
    command_line.run(main)
