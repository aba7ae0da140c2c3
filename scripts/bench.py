"""Times our training step against `transformers` on torch, side by side.

    python scripts/bench.py --row bert-mini --row bert-base

Each side runs in a fresh process, in turn (ours, theirs, ours, theirs, ...), pinned to the same cores, with
the same environment: three warm-up steps, then the median of ten timed ones. Dropout 0.1, a new synthetic
batch each step, global-norm clip 1.0, float32. Ours is the step of ssl_jax/train.py, masking and BERT's Adam
included; theirs is BertForPreTraining with sdpa attention, precomputed labels, fused AdamW. "equal work"
makes ours compute the masked-LM head at all positions, as theirs does. The row `data` is bench_data.py's.
"""

import json
import os
import statistics
import subprocess
import sys
import time

from absl import flags

from ssl_jax import command_line

# name: BERT config variant, batch size, sequence length
ROWS = {"bert-mini": ("mini", 16, 128), "bert-base": ("base", 8, 128), "bert-tiny": ("tiny", 16, 128)}
SIDES = ("ours", "ours, equal work", "torch eager", "torch compile")
WARM_UP, TIMED = 3, 10

ROW = flags.DEFINE_multi_enum("row", ["bert-mini", "bert-base", "data"], [*ROWS, "data"], "what to time")
ROUNDS = flags.DEFINE_integer("rounds", 3, "fresh processes of each side", lower_bound=1)
SIDE = flags.DEFINE_multi_enum("side", list(SIDES), list(SIDES), "which sides")
CORES = flags.DEFINE_integer("cores", 2, "cores that each side may use", lower_bound=1)
CHILD = flags.DEFINE_bool("child", False, "run one side of one row and print its seconds (used by this script)")


def main():
    if CHILD.value:
        row, side = ROWS[ROW.value[0]], SIDE.value[0]
        seconds = time_torch(*row, side) if side.startswith("torch") else time_ours(*row, side)
        print(json.dumps(seconds))
        return
    for row in ROW.value:
        if row == "data":
            script = os.path.join(os.path.dirname(__file__), "bench_data.py")
            options = [f"--rounds={ROUNDS.value}", f"--cores={CORES.value}"]
            if failed := subprocess.run([sys.executable, script, *options], check=False).returncode:
                sys.exit(failed)
            continue
        seconds = {side: [] for side in SIDE.value}
        for number in range(ROUNDS.value):
            for side in SIDE.value:
                seconds[side].append(run_child(row, side))
                print(f"{row} round {number + 1} {side}: {seconds[side][-1]:.3f} s a step", file=sys.stderr)
        report(row, seconds)


def run_child(row, side):
    """Median step time of one side in seconds, measured in a fresh process."""
    # Huge pages for large temporaries: fewer page faults, for both sides.
    environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    environment |= {"OMP_NUM_THREADS": str(CORES.value), "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--child", "--row", row, "--side", side, "--cores", str(CORES.value)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"error: {side} of {row} failed: {done.stderr.strip().splitlines()[-1]}")
    return statistics.median(json.loads(done.stdout.splitlines()[-1]))


def report(row, seconds):
    variant, batch_size, length = ROWS[row]
    print(f"\n{row}: configs/bert.py:{variant}, batch {batch_size} x {length}, {ROUNDS.value} rounds")
    for side, rounds in seconds.items():
        spread = f"{min(rounds):.3f}-{max(rounds):.3f}"
        print(f"  {side:18} median {statistics.median(rounds):.3f} s a step ({spread})")
    for mine in (side for side in seconds if side.startswith("ours")):
        for theirs in (side for side in seconds if side.startswith("torch")):
            ratios = [b / a for a, b in zip(seconds[mine], seconds[theirs], strict=True)]
            print(f"  {theirs} / {mine}: {statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})")


def pin():
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: CORES.value])


def synthetic(number, batch_size, length, size):
    """Batch `number`: full rows of two segments."""
    import numpy as np

    random = np.random.default_rng(number)
    return dict(
        tokens=random.integers(5, size, (batch_size, length), dtype=np.int32),
        mask=np.ones((batch_size, length), np.int32),
        segments=(np.arange(length) >= length // 2).astype(np.int32)[None].repeat(batch_size, 0),
        pair=random.integers(0, 2, batch_size, dtype=np.int32),
        index=(number * batch_size + np.arange(batch_size)).astype(np.int32),
    )


def timed(step, batches):
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        step(batch)
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP:]


def time_ours(variant, batch_size, length, side):
    pin()
    import jax
    import numpy as np

    from configs import bert
    from ssl_jax import parallel
    from ssl_jax.models.model import build_model
    from ssl_jax.step import initial_state, make_train_step
    from ssl_jax.tokenization.vocabulary import Vocabulary

    config = bert.get_config(variant)
    if side == "ours, equal work":
        config.corruption.rate = 1.0  # the head runs at every position to be predicted
    size = config.model.vocab_size
    special = np.arange(size) < 5
    vocabulary = Vocabulary(
        size=size, pad=0, unknown=1, start=2, separator=3, mask=4, special=special, starts_word=~special, extract=3
    )
    model = build_model(config)
    devices = parallel.build_parallel(config.parallel)
    state = devices.create(lambda: initial_state(config, model, vocabulary))
    function = devices.compile(make_train_step(config, model, vocabulary), donate=True)

    def step(batch):
        nonlocal state
        state, loss = function(state, devices.put_batch(batch))
        jax.block_until_ready(loss)

    return timed(step, (synthetic(number, batch_size, length, size) for number in range(WARM_UP + TIMED)))


def time_torch(variant, batch_size, length, side):
    pin()
    import numpy as np
    import torch
    import transformers

    from configs import bert

    torch.set_num_threads(CORES.value)
    shape = bert.get_config(variant).model
    model = transformers.BertForPreTraining(
        transformers.BertConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.hidden_size,
            hidden_act="gelu_new",
            attn_implementation="sdpa",
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    forward = torch.compile(model) if side == "torch compile" else model

    def step(batch):
        optimizer.zero_grad(set_to_none=True)
        forward(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def batches():
        for number in range(WARM_UP + TIMED):
            batch = synthetic(number, batch_size, length, shape.vocab_size)
            random = np.random.default_rng(number)
            chosen = random.random(batch["tokens"].shape) < 0.15
            yield {
                "input_ids": torch.tensor(np.where(chosen, 4, batch["tokens"])).long(),
                "attention_mask": torch.tensor(batch["mask"]).long(),
                "token_type_ids": torch.tensor(batch["segments"]).long(),
                "labels": torch.tensor(np.where(chosen, batch["tokens"], -100)).long(),
                "next_sentence_label": torch.tensor(batch["pair"]).long(),
            }

    return timed(step, batches())


if __name__ == "__main__":
    command_line.run(main)
