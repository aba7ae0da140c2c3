"""Times our training steps, and generation, against `transformers` on torch, side by side.

    python scripts/bench.py --row bert-mini --row gpt2
    python scripts/bench.py --device gpu --output bench.jsonl

Each side runs in a fresh process, in turn (ours, theirs, ours, theirs, ...), on the same cores, with the same environment:
the first step, two more to warm up, then ten that are timed. Dropout 0.1, a new synthetic batch each step, global-norm clip
1.0; float32 on a CPU, on a GPU bfloat16 with float32 parameters. Ours is the step of ssl_jax/train.py with its masking and
optimizer; theirs a plain loop with sdpa attention, precomputed labels and fused AdamW. "equal work" makes ours compute the
masked-LM head at all positions, as theirs does; "scan" compiles one layer and loops over it; "fused", on a
GPU, is model.attention=fused, without dropout on the attention probabilities.

A measurement is a JSON line: seconds of the first step (in the first round with empty compilation caches, afterwards with
what that round left there), of each timed one, and the process's peak memory (on a GPU the device's). With --output they are
kept; the same command resumes, and repeats what failed. On a GPU the row "ceilings" comes first, a large product and a large
copy. The row "data" is bench_data.py's.
"""

import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

from absl import flags

from ssl_jax import command_line

WARM_UP, TIMED = 3, 10
BEGAN = time.monotonic()
EQUAL = {"corruption.rate": 1.0}  # the head runs at every position that is predicted


@dataclasses.dataclass(frozen=True)
class Row:
    """A step that is timed.

    Attributes:
      config: 'PAPER:VARIANT' of configs/.
      batch, length: sequences of a batch, and tokens of each.
      peer: the function below that builds the other side.
      changes: of the config.
      teacher: 'PAPER:VARIANT' of its teacher.
      equal: changes with which ours does what theirs does; None: it does that anyway.
      gpu: whether it is one of a GPU's rows.
      what: 'step'; 'generate': `length` new tokens after as many of a prompt; 'ceilings': a bfloat16 product of matrices
        [length, length], and a copy of `batch` GiB.
    """

    config: str
    batch: int
    length: int
    peer: str
    changes: dict = dataclasses.field(default_factory=dict)
    teacher: str = ""
    equal: dict | None = None
    gpu: bool = False
    what: str = "step"


def wide(layers, width, heads):
    return {"model.layers": layers, "model.hidden_size": width, "model.heads": heads}


LONG = {"phases.lengths": (128,), "phases.shares": (1.0,)}  # lengths that a config's positions allow are one phase
ROWS = {
    "bert-tiny": Row("bert:tiny", 16, 128, "bert", LONG, equal=EQUAL),
    "bert-mini": Row("bert:mini", 16, 128, "bert", LONG, equal=EQUAL),
    "bert-base": Row("bert:base", 8, 128, "bert", LONG, equal=EQUAL),
    "gpt2": Row("gpt2:small", 8, 256, "gpt2", wide(6, 384, 6) | {"phases.lengths": (256,)}),
    "albert-base": Row("albert:base", 8, 128, "albert", LONG | {"model.dropout": 0.1}, equal=EQUAL),
    "electra-small": Row("electra:small", 16, 128, "electra", LONG, equal=EQUAL),
    "distilbert": Row("distilbert:base", 8, 128, "distilbert", LONG, teacher="bert:base"),
    "tinybert": Row("tinybert:4-312", 16, 128, "tinybert", LONG, teacher="bert:base"),
    "generate": Row("gpt2:small", 8, 128, "gpt2", wide(6, 384, 6), what="generate"),
    # Sizes of published throughputs (docs/performance.md)
    "ceilings": Row("bert:tiny", 4, 8192, "", gpu=True, what="ceilings"),
    "gpu-bert-base": Row("bert:base", 256, 128, "bert", LONG, equal=EQUAL, gpu=True),
    "gpu-bert-large": Row("bert:large", 128, 128, "bert", LONG, equal=EQUAL, gpu=True),
    "gpu-gpt2": Row("gpt2:small", 32, 1024, "gpt2", gpu=True),
    "gpu-gpt2-xl": Row("gpt2:xl", 8, 1024, "gpt2", {"model.remat": True, "model.scan": True}, gpu=True),
    "gpu-electra-base": Row("electra:base", 256, 128, "electra", LONG, equal=EQUAL, gpu=True),
    "gpu-albert-base": Row("albert:base", 256, 128, "albert", LONG | {"model.dropout": 0.1}, equal=EQUAL, gpu=True),
}
TINY = {"model.vocab_size": 512, "model.layers": 2, "model.hidden_size": 32, "model.heads": 2, "model.ffn_size": 64}
SIDES = ("ours", "ours, scan", "ours, fused", "ours, equal work", "torch eager", "torch compile")

ROW = flags.DEFINE_multi_enum("row", None, [*ROWS, "data"], "what to time; all of the device's rows without it")
DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "where")
ROUNDS = flags.DEFINE_integer("rounds", 3, "fresh processes of each side", lower_bound=1)
SIDE = flags.DEFINE_multi_enum("side", list(SIDES), list(SIDES), "which sides")
CORES = flags.DEFINE_integer("cores", 2, "cores that each side may use on a CPU", lower_bound=1)
OUTPUT = flags.DEFINE_string(
    "output", "", "file of measurements, one JSON line each; what it has is not measured again"
)
LIMIT = flags.DEFINE_float("limit", 1800, "seconds that one process may take", lower_bound=1)
SMOKE = flags.DEFINE_bool("smoke", False, "tiny shapes: whether everything runs; its times say nothing")
BUDGET = flags.DEFINE_float("budget", 0, "seconds that all of it may take; 0: as many as it needs", lower_bound=0)
CHILD = flags.DEFINE_bool("child", False, "measure one side of one row and print it (used by this script)")


def main():
    if CHILD.value:
        row, side = row_of(ROW.value[0]), SIDE.value[0]
        if row.what == "ceilings":
            made = measure_ceilings(row)
        else:
            made = measure_torch(row, side) if side.startswith("torch") else measure_ours(row, side)
        print(json.dumps(made))
        return
    gpu = DEVICE.value == "gpu"
    names = [name for name, row in ROWS.items() if row.gpu == gpu and name != "bert-tiny"] + ["data"] * (not gpu)
    with tempfile.TemporaryDirectory() as caches:
        for name in ROW.value or names:
            if name == "data":
                command = [sys.executable, Path(__file__).with_name("bench_data.py")]
                subprocess.run([*command, f"--rounds={ROUNDS.value}", f"--cores={CORES.value}"], check=True)
            else:
                compare(name, caches)


def compare(name, caches):
    """Measures what the output file does not have of a row, and reports it."""
    done, sides = read(OUTPUT.value), sides_of(ROWS[name])
    for number in range(ROUNDS.value):
        for side in sides:
            if "error" in done.get((name, side, number), {"error": "not yet"}):
                done[name, side, number] = {"row": name, "side": side, "round": number, **run_child(name, side, caches)}
                write(done[name, side, number])
    report(name, {side: [done[name, side, number] for number in range(ROUNDS.value)] for side in sides})


def row_of(name):
    if not SMOKE.value:
        return ROWS[name]
    small = dict(batch=1, length=64) if ROWS[name].what == "ceilings" else dict(batch=4, length=16)
    return dataclasses.replace(ROWS[name], **small)


def sides_of(row):
    if row.what == "ceilings":
        return ["ours"]
    without = {"ours, fused"} if not row.gpu else set()  # the same program on a CPU
    without |= {"ours, equal work"} if row.equal is None else set()
    return [side for side in SIDE.value if side not in without]


def read(path):
    """(row, side, round) -> measurement of a file; {} without one."""
    if not path or not Path(path).exists():
        return {}
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return {(line["row"], line["side"], line["round"]): line for line in lines}


def write(made):
    print(json.dumps(made), file=sys.stderr, flush=True)
    if OUTPUT.value:
        with open(OUTPUT.value, "a") as file:
            file.write(json.dumps(made) + "\n")


def run_child(name, side, caches):
    """The measurement of one side of one row in a fresh process; `error` and its last line if it failed."""
    # Huge pages for large temporaries: fewer page faults, for both sides.
    environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "HF_HUB_OFFLINE": "1"}
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": f"{caches}/{name}/{side}",
        "TORCHINDUCTOR_CACHE_DIR": f"{caches}/{name}/torch",
    }
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}
    if DEVICE.value == "cpu":
        environment |= {"OMP_NUM_THREADS": str(CORES.value), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--child", "--row", name, "--side", side]
    command += ["--cores", str(CORES.value), "--device", DEVICE.value, f"--smoke={SMOKE.value}"]
    limit = min(LIMIT.value, BUDGET.value - time.monotonic() + BEGAN) if BUDGET.value else LIMIT.value
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=max(limit, 0))
    except subprocess.TimeoutExpired:
        return {"error": f"stopped after {max(limit, 0):.0f} s"}
    if done.returncode:
        lines = [
            line
            for line in done.stderr.splitlines()
            if line[:1].isalpha() and not line.startswith("For simplicity, JAX")
        ]
        return {"error": (lines or ["no output"])[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def report(name, found):
    """Prints a row: each side's median, its spread over rounds, first steps and memory; ratios are of rounds."""
    row = row_of(name)
    print(f"\n{name}: configs/{row.config}, {row.what}, batch {row.batch} x {row.length}, {ROUNDS.value} rounds")
    medians = {}
    for side, rounds in found.items():
        errors = [made["error"] for made in rounds if "error" in made]
        if errors:
            print(f"  {side:18} failed: {errors[0]}")
            continue
        medians[side] = [statistics.median(made["seconds"]) for made in rounds]
        tokens = row.batch * row.length / statistics.median(medians[side])
        first = [made["first"] for made in rounds]
        warm = f", {statistics.median(first[1:]):.1f} with a cache" if first[1:] else ""
        best = min(min(made["seconds"]) for made in rounds)
        peak = max(made["peak_bytes"] for made in rounds) / 1e9
        if row.what == "ceilings":
            print(f"  {rounds[0]['product'] / 1e12:.0f} TFLOP/s, {rounds[0]['copy'] / 1e12:.2f} TB/s read and written")
            continue
        known = [made for made in found.get("ours", []) if made.get("peak")]
        mfu = f" ({known[0]['flops'] * tokens / known[0]['peak']:.1%} MFU)" if known else ""
        print(
            f"  {side:18} median {statistics.median(medians[side]):.3f} s ({min(medians[side]):.3f}-{max(medians[side]):.3f}), "
            f"best {best:.3f}; {tokens:,.0f} tokens/s{mfu}; first {first[0]:.1f} s{warm}; {peak:.2f} GB"
        )
    for mine in (side for side in medians if side.startswith("ours")):
        for theirs in (side for side in medians if side.startswith("torch")):
            ratios = [b / a for a, b in zip(medians[mine], medians[theirs], strict=True)]
            print(f"  {theirs} / {mine}: {statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})")


def pin():
    if DEVICE.value == "cpu":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: CORES.value])


def synthetic(number, row, size):
    """Batch `number`: full rows of two segments."""
    import numpy as np

    random = np.random.default_rng(number)
    return dict(
        tokens=random.integers(5, size, (row.batch, row.length), dtype=np.int32),
        mask=np.ones((row.batch, row.length), np.int32),
        segments=(np.arange(row.length) >= row.length // 2).astype(np.int32)[None].repeat(row.batch, 0),
        pair=random.integers(0, 2, row.batch, dtype=np.int32),
        index=(number * row.batch + np.arange(row.batch)).astype(np.int32),
    )


def timed(step, batches, peak):
    """{'first', 'seconds', 'peak_bytes', 'machine'} of a step on batches; `peak()` is the memory after them."""
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        step(batch)
        seconds.append(time.perf_counter() - start)
    versions = {name: importlib.metadata.version(name) for name in ("jax", "torch", "transformers")}
    return {
        "first": seconds[0],
        "seconds": seconds[WARM_UP:],
        "peak_bytes": peak(),
        "machine": platform.machine(),
        **versions,
    }


def resident():
    """The process's peak resident memory in bytes, its libraries included."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def config_of(name, changes):
    paper, variant = name.split(":")
    config = importlib.import_module(f"configs.{paper}").get_config(variant)
    dtype = {"model.dtype": "bfloat16" if DEVICE.value == "gpu" else "float32"}
    config.update_from_flattened_dict({**changes, **dtype, **(TINY if SMOKE.value else {})})
    return config


# ---- Ours


def measure_ours(row, side):
    pin()
    import jax
    import numpy as np

    from ssl_jax import parallel, program
    from ssl_jax.distill.teachers import make_teach
    from ssl_jax.flops import flops_per_token, peak_flops
    from ssl_jax.inference.generate import generate
    from ssl_jax.models.model import build_model
    from ssl_jax.plan import predictions_per_sequence
    from ssl_jax.step import initial_params, initial_state, make_train_step

    def peak():
        statistics = jax.devices()[0].memory_stats()
        return statistics["peak_bytes_in_use"] if statistics else resident()

    fused = {"model.attention": "fused", "model.attention_dropout": 0.0}
    own = {"ours": {}, "ours, scan": {"model.scan": True}, "ours, fused": fused, "ours, equal work": row.equal}[side]
    config = config_of(row.config, row.changes | own)
    size, vocabulary = config.model.vocab_size, program.vocabulary(config)
    teach, teachers, devices = None, [], parallel.build_parallel(config.parallel)
    if row.teacher:
        theirs = build_model(config_of(row.teacher, {}))
        config.teacher.hidden_size = theirs.config.hidden_size
        teach, teachers = make_teach(config, [theirs]), [devices.create(lambda: initial_params(theirs, 1))]
    model = build_model(config)
    if row.what == "generate":
        params = jax.jit(lambda: initial_params(model, 0))()
        run = types.SimpleNamespace(model=model, params=params, vocabulary=vocabulary)
        return timed(
            lambda batch: generate(run, batch["tokens"].tolist(), max_tokens=row.length, temperature=0.0, ends=()),
            (synthetic(number, row, size) for number in range(WARM_UP + TIMED)),
            peak,
        )
    counts = np.ones(size)
    state = devices.create(lambda: initial_state(config, model, vocabulary))
    function = devices.compile(make_train_step(config, model, vocabulary, counts, teach), donate=True)

    def step(batch):
        nonlocal state
        state, loss = function(state, devices.put_batch(batch), teachers)
        jax.block_until_ready(loss)

    made = timed(step, (synthetic(number, row, size) for number in range(WARM_UP + TIMED)), peak)
    per_token = flops_per_token(model, row.length, predictions_per_sequence(config, row.length))
    return made | {"flops": per_token, "peak": peak_flops(jax.devices()[0].device_kind, config.model.dtype)}


def measure_ceilings(row):
    """What the device reaches: FLOP/s of a large product, bytes a second of a copy, reading and writing counted."""
    import jax
    import jax.numpy as jnp

    x, y = jnp.ones((row.length, row.length), jnp.bfloat16), jnp.ones(row.batch << 28, jnp.float32)
    product, copy = jax.jit(lambda x: x @ x), jax.jit(lambda y: y + 1)
    for_product, for_copy = (
        statistics.median(timed(lambda _: jax.block_until_ready(f(a)), range(WARM_UP + TIMED), lambda: 0)["seconds"])
        for f, a in ((product, x), (copy, y))
    )
    return {
        "first": 0.0,
        "seconds": [for_product],
        "peak_bytes": 0,
        "product": 2 * row.length**3 / for_product,
        "copy": 2 * y.nbytes / for_copy,
    }


# ---- Theirs: functions of a row's shape, `config.model`, that return the modules to train and a function of a batch of
# tensors, which returns the loss. `build` puts a module on the device, compiled if that is the side.


def bert_shape(shape, **more):
    import transformers

    return transformers.BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn_size or 4 * shape.hidden_size,
        hidden_act="gelu_new",
        **{"attn_implementation": "sdpa"} | more,
    )


def inputs(batch):
    return dict(input_ids=batch["tokens"], attention_mask=batch["mask"], token_type_ids=batch["segments"])


def bert(config, build):
    import transformers

    model = build(transformers.BertForPreTraining(bert_shape(config.model)))
    return [model], lambda batch: model(**inputs(batch), labels=batch["labels"], next_sentence_label=batch["pair"]).loss


def albert(config, build):
    import transformers

    shape = config.model
    model = build(
        transformers.AlbertForPreTraining(
            transformers.AlbertConfig(
                vocab_size=shape.vocab_size,
                embedding_size=shape.embedding_size,
                hidden_size=shape.hidden_size,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                intermediate_size=4 * shape.hidden_size,
                hidden_dropout_prob=0.1,
                attention_probs_dropout_prob=shape.attention_dropout,
                attn_implementation="sdpa",
            )
        )
    )
    return [
        model
    ], lambda batch: model(**inputs(batch), labels=batch["labels"], sentence_order_label=batch["pair"]).loss


def gpt2(config, build):
    import transformers

    shape = config.model
    model = build(
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=shape.vocab_size,
                n_embd=shape.hidden_size,
                n_layer=shape.layers,
                n_head=shape.heads,
                n_positions=shape.max_positions,
                attn_implementation="sdpa",
            )
        )
    )
    return [model], lambda batch: model(input_ids=batch["tokens"], labels=batch["tokens"]).loss


def electra(config, build):
    """Both networks with shared embeddings, the sampling between them, and the two losses."""
    import torch
    import transformers

    def shape(scale):
        return transformers.ElectraConfig(
            vocab_size=config.model.vocab_size,
            embedding_size=config.model.embedding_size or config.model.hidden_size,
            hidden_size=int(config.model.hidden_size * scale),
            num_hidden_layers=config.model.layers,
            num_attention_heads=max(1, int(config.model.heads * scale)),
            intermediate_size=int(4 * config.model.hidden_size * scale),
            attn_implementation="sdpa",
        )

    generator = transformers.ElectraForMaskedLM(shape(config.generator.size))
    discriminator = transformers.ElectraForPreTraining(shape(1.0))
    discriminator.electra.embeddings = generator.electra.embeddings
    generator, discriminator = build(generator), build(discriminator)

    def loss(batch):
        made = generator(**inputs(batch), labels=batch["labels"])
        with torch.no_grad():
            drawn = torch.distributions.Gumbel(0.0, 1.0).sample(made.logits.shape).to(made.logits.device)
            chosen = batch["labels"] != -100
            tokens = torch.where(chosen, (made.logits + drawn).argmax(-1), batch["tokens"])
            replaced = (chosen & (tokens != batch["labels"])).long()
        theirs = discriminator(**inputs(batch | {"tokens": tokens}), labels=replaced)
        return made.loss + 50 * theirs.loss

    return [generator, discriminator], loss


def distilbert(config, build):
    """Teacher BERT-base; soft targets at a temperature of 2 and cosine at all tokens, masked tokens (distiller.py)."""
    import torch
    import transformers

    shape = config.model
    teacher = build(transformers.BertForMaskedLM(bert_shape(config_of("bert:base", {}).model))).eval()
    student = build(
        transformers.DistilBertForMaskedLM(
            transformers.DistilBertConfig(
                vocab_size=shape.vocab_size,
                dim=shape.hidden_size,
                n_layers=shape.layers,
                n_heads=shape.heads,
                hidden_dim=4 * shape.hidden_size,
                attn_implementation="sdpa",
            )  # fmt: skip
        )
    )

    def loss(batch):
        with torch.no_grad():
            theirs = teacher(**inputs(batch), output_hidden_states=True)
        own = student(
            input_ids=batch["tokens"], attention_mask=batch["mask"], labels=batch["labels"], output_hidden_states=True
        )
        ours, soft = ((x.logits / 2).flatten(0, 1) for x in (own, theirs))
        divergence = torch.nn.functional.kl_div(
            ours.log_softmax(-1), soft.log_softmax(-1), reduction="batchmean", log_target=True
        )
        states = (x.hidden_states[-1].flatten(0, 1) for x in (own, theirs))
        cosine = 1 - torch.nn.functional.cosine_similarity(*states).mean()
        return 5 * 4 * divergence + 2 * own.loss + cosine

    return [student], loss


def tinybert(config, build):
    """Embeddings, states and attention of every third layer of BERT-base; attention cores are eager, to be read."""
    import torch
    import transformers

    shape, theirs = config.model, config_of("bert:base", {}).model
    reading = dict(attn_implementation="eager", output_hidden_states=True, output_attentions=True)
    teacher = build(transformers.BertModel(bert_shape(theirs, **reading))).eval()
    student = build(transformers.BertModel(bert_shape(shape, **reading)))
    fit = build(torch.nn.Linear(shape.hidden_size, theirs.hidden_size))
    step = theirs.layers // shape.layers

    def loss(batch):
        with torch.no_grad():
            known = teacher(**inputs(batch))
        own = student(**inputs(batch))
        states = zip(own.hidden_states, known.hidden_states[::step], strict=True)
        scores = zip(own.attentions, known.attentions[step - 1 :: step], strict=True)
        error = torch.nn.functional.mse_loss
        return sum(error(fit(a), b) for a, b in states) + sum(error(a, b) for a, b in scores)

    return [student, fit], loss


PEERS = {function.__name__: function for function in (bert, albert, gpt2, electra, distilbert, tinybert)}


def measure_torch(row, side):
    pin()
    import numpy as np
    import torch

    config, gpu = config_of(row.config, row.changes), DEVICE.value == "gpu"
    device = "cuda" if gpu else "cpu"
    if not gpu:
        torch.set_num_threads(CORES.value)

    def build(module):
        module = module.to(device).train()
        return torch.compile(module) if side == "torch compile" and row.what == "step" else module

    def peak():
        return torch.cuda.max_memory_allocated() if gpu else resident()

    modules, loss = PEERS[row.peer](config, build)
    parameters = list({id(p): p for module in modules for p in module.parameters()}.values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.01, fused=True)

    def step(batch):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=gpu):
            value = loss(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        value.item()  # waits for the device

    def batches():
        for number in range(WARM_UP + TIMED):
            batch = synthetic(number, row, config.model.vocab_size)
            chosen = np.random.default_rng(number).random(batch["tokens"].shape) < 0.15
            batch["labels"] = np.where(chosen, batch["tokens"], -100)
            if row.peer not in ("gpt2", "tinybert"):  # which read whole texts
                batch["tokens"] = np.where(chosen, 4, batch["tokens"])
            yield {name: torch.tensor(x, device=device).long() for name, x in batch.items()}

    if row.what == "generate":
        model = modules[0].eval()
        many = dict(max_new_tokens=row.length, min_new_tokens=row.length, do_sample=False, pad_token_id=0)
        compiled = {"cache_implementation": "static"} if side == "torch compile" else {}  # which it compiles itself

        def step(batch):  # noqa: F811
            model.generate(batch["tokens"], attention_mask=batch["mask"], **many, **compiled)

    return timed(step, batches(), peak)


if __name__ == "__main__":
    command_line.run(main)
