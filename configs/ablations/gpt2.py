"""GPT-2 by size (Radford et al. 2019, Table 3): language modelling without examples and without training.

.venv/bin/python scripts/sweep.py --config configs/ablations/gpt2.py:table3,mini --workdir runs/gpt2-3
"""

from configs import ablations, gpt2
from configs.ablations import asked, model, percent, published, source
from ssl_jax.sweeps.tables import Claim, Column, Row, Stage, Table

# Column -> key of the evaluation, and what it is multiplied by.
MEASURED = {
    "LAMBADA ppl": ("lambada:gpt2_last_token/0/perplexity", 1.0),
    "LAMBADA acc": ("lambada:gpt2_stop_words/0/match", 100.0),  # with the filter of stop words (section 3.3)
    "CBT-CN acc": ("cbt_cn:gpt2/0/accuracy", 100.0),
    "CBT-NE acc": ("cbt_ne:gpt2/0/accuracy", 100.0),
    "WikiText2 ppl": ("wikitext2:gpt2/0/perplexity_per_word", 1.0),
    "PTB ppl": ("ptb:gpt2/0/perplexity_per_word", 1.0),
    "enwik8 bpb": ("enwik8:gpt2/0/bits_per_byte", 1.0),
    "text8 bpc": ("text8:gpt2/0/bits_per_character", 1.0),
    "WikiText103 ppl": ("wikitext103:gpt2/0/perplexity_per_word", 1.0),
    "1BW ppl": ("1bw:gpt2/0/perplexity_per_word", 1.0),
}
SIZES = {"117M": "small", "345M": "medium", "762M": "large", "1542M": "xl"}
# Layers, width, heads of 64 or, at mini and smoke, four or two.
SHAPES = {
    "small": ((4, 256, 4), (6, 384, 6), (8, 512, 8), (10, 640, 10)),
    "mini": ((1, 64, 4), (2, 96, 4), (2, 128, 4), (3, 192, 4)),
    "smoke": ((1, 16, 2), (1, 32, 2), (2, 32, 2), (2, 48, 2)),
}


def table3(scale):
    config = model("gpt2", "small", scale, small="mini", at={"small": {"steps": 15_000}, "mini": {"steps": 2500}})
    rows = []
    for place, (name, size) in enumerate(SIZES.items()):
        if scale == "paper":
            shape = gpt2.SIZES[size]
            changes = {"optimizer.learning_rate": gpt2.LEARNING_RATES[size]}
        else:
            shape, changes = dict(zip(("layers", "hidden_size", "heads"), SHAPES[scale][place], strict=True)), {}
        rows.append(Row(name, {f"model.{key}": value for key, value in shape.items()} | changes))
    columns = tuple(
        Column(name, "zero", metric, scale=times, higher=times > 1) for name, (metric, times) in MEASURED.items()
    )
    at = {"paper": {"tasks": tuple(dict.fromkeys(metric.split("/")[0] for metric, _ in MEASURED.values()))}}
    at |= {name: {"shots": (0,)} for name in ("small", "mini", "smoke")}
    told = "larger models are better on all of them (Table 3, Figure 1)"
    names = list(SIZES)
    mains = ("LAMBADA ppl", "PTB ppl", "WikiText103 ppl") if scale == "paper" else ("clm loss",)
    if scale != "paper":
        columns = (
            Column("clm loss", "pretrain", "clm_loss", higher=False),
            percent("topic", "zero", "topic:unconditional/0/accuracy"), percent("title", "zero", "title:title/0/accuracy"),
        )  # fmt: skip
    return Table(
        "GPT-2, Table 3: zero-shot by size",
        stages={"pretrain": Stage(config), "zero": asked(scale, "gpt2", at=at)},
        rows=tuple(rows), columns=columns, reference=names[0], seeds={"paper": 1, "small": 3, "mini": 3, "smoke": 2}[scale],
        claims=tuple(
            Claim(larger, smaller, main, -1, text=told) for main in mains for smaller, larger in zip(names, names[1:])
        ),
        published=published("gpt2-table3-zeroshot"), source=source("gpt2-table3-zeroshot"),
        hypothesis="" if scale == "paper" else (
            "Larger models predict held-out text better after as many steps. Asked without examples, they are expected to "
            "be right a little more often, within the errors of a few hundred articles (docs/few-shot.md)."
        ),
    )  # fmt: skip


TABLES = {"table3": table3}


def get_sweep(variant="table3"):
    return ablations.choose(variant, TABLES)


def get_config(variant="table3"):
    return ablations.blocks(get_sweep(variant))
