"""ALBERT's ablations (Lan et al. 2019, sections 4.4 to 4.8 and appendix A.1); columns are its dev sets.

    .venv/bin/python scripts/sweep.py --config configs/ablations/albert.py:table5,mini --workdir runs/albert-5

Fine-tuning is the median of five seeds (section 4.2.2) from one pre-training; at smaller scales each seed pre-trains, too.
Table 5's accuracies of pairs are those of the head that was trained, on the pairs of either kind; "none" has no such head.
Table 11's depths start from the depth before, each for as many steps (configs/albert.py).

Not here: Tables 2, 6 and 7, which compare whole models, hours and corpora: their commands are in docs/ablations.md.
"""

from configs import ablations
from configs.ablations import masked, mean_of, model, percent, published, source, tuned
from ssl_jax.sweeps.tables import Claim, Column, Row, Stage, Table

TASKS = ("squad", "squad2", "mnli", "sst2", "race")
MEDIAN = dict(statistic="median")
# SQuAD is printed as F1 / EM, whose mean is its part of the average over five tasks.
COLUMNS = (
    percent("SQuAD1.1 F1", "squad", "f1", published="SQuAD1.1", **MEDIAN),
    percent("SQuAD1.1 EM", "squad", "exact", published="SQuAD1.1", part=1, **MEDIAN),
    mean_of("SQuAD1.1 mean", ("SQuAD1.1 F1", "SQuAD1.1 EM"), **MEDIAN),
    percent("SQuAD2.0 F1", "squad2", "best_f1", published="SQuAD2.0", **MEDIAN),
    percent("SQuAD2.0 EM", "squad2", "best_exact", published="SQuAD2.0", part=1, **MEDIAN),
    mean_of("SQuAD2.0 mean", ("SQuAD2.0 F1", "SQuAD2.0 EM"), **MEDIAN),
    percent("MNLI", "mnli", **MEDIAN),
    percent("SST-2", "sst2", **MEDIAN),
    percent("RACE", "race", **MEDIAN),
    mean_of("avg", ("SQuAD1.1 mean", "SQuAD2.0 mean", "MNLI", "SST-2", "RACE"), **MEDIAN),
)
PARAMETERS = Column("params exact", "pretrain", "parameters", higher=False)
# LAMB's rate for batches of 4,096, by the square root of the batch (You et al. 2019, arXiv 1904.00962, section 4.3).
SMALL = {"steps": 20_000, "optimizer.learning_rate": 0.00176 / 4}


def columns(scale, *more):
    return (*more, *(COLUMNS if scale == "paper" else (*masked(), ablations.TOPICS)))


def stages(size, scale, at=None, topics=None):
    """Pre-training and fine-tuning; `at`: changes of pre-training beside the scale's, `topics`: of fine-tuning at mini."""
    at = {"small": SMALL} | (at or {})
    config = model("albert", size, scale, at=at)
    tasks = tuned("albert", size, scale, TASKS, at={"mini": topics or {"task.epochs": 2.0}})
    return {"pretrain": Stage(config, share_seed=scale == "paper"), **tasks}


def table(number, name, scale, **made):
    where = f"albert-table{number}"
    title = f"ALBERT, Table {number.split('-')[0]}: {name}"
    seeds = made.pop("seeds", {"paper": 5, "small": 3, "mini": 3, "smoke": 2})
    return Table(title, published=published(where), source=source(where), seeds=seeds[scale], **made)


def claims(scale, *told, band=0.5):
    """Claims about (row, reference, direction, text) on the average, or at smaller scales on what stands for it.

    `band`: of 'the same', in percentage points; the average's is the paper's own word: 0.1 is "no drop" and 0.7 "slight".
    """
    found = []
    for column, width in (("avg", band),) if scale == "paper" else (("mlm accuracy", 0.3), ("topics", 1.0)):
        found += [
            Claim(row, reference, column, direction, 0.0 if direction else width, text)
            for row, reference, direction, text in told
        ]
    return tuple(found)


def table3(scale):
    """Embeddings of 64 to 768, as shares of the width, with and without sharing."""
    # Heads that start at neighbours need embeddings as wide as the trunk (models/neighbours.py): here there are none.
    made = stages("base", scale, {"mini": {"steps": 1500, "model.neighbours": ()}})
    width = made["pretrain"].config.model.hidden_size
    rows = [
        Row(f"{name} E{size}", {"model.share": share, "model.embedding_size": width * size // 768})
        for name, share in (("not-shared", "none"), ("all-shared", "all"))
        for size in (64, 128, 256, 768)
    ]
    return table(
        "3-embedding", "embedding size", scale,
        stages=made, rows=tuple(rows), columns=columns(scale, PARAMETERS), reference="all-shared E128",
        claims=claims(
            scale,
            ("not-shared E768", "not-shared E64", 1, "not shared, larger embeddings are better, if not by much (4.4)"),
            ("all-shared E128", "all-shared E64", 1, "all shared, 128 is best (4.4)"),
            ("all-shared E128", "all-shared E768", 1, "all shared, 128 is best (4.4)"),
        ),
        hypothesis="" if scale == "paper" else (
            "With a twelfth of the width, embeddings are too narrow for a vocabulary of thousands: the narrowest is worst in "
            "masked tokens, shared or not. Whether a sixth of the width beats the full one when all layers share is a "
            "matter of tenths in the paper, and is not expected to show in runs this short."
        ),
    )  # fmt: skip


# Table 4 at the scale mini, from pilots of the row all-shared with another seed: embeddings as wide as the trunk, without
# which heads cannot start at neighbours, and so many steps end where only tokens' frequencies are known; four layers.
SHARING_MINI = {
    "steps": 1600,
    "data.heldout": 0.1,
    "model.hidden_size": 64,
    "model.layers": 4,
    "optimizer.learning_rate": 3e-3,
}
SHARING_MINI_TOPICS = {"data.heldout": 0.1, "task.epochs": 2.0, "optimizer.learning_rate": 1e-3}
SHARING_HYPOTHESIS = (
    "In so few tokens models are limited by training, not by their size, and sharing lets every layer have every gradient: "
    "masked tokens of all rows within 1 point, shared-attention and all-shared the same as or better than not-shared; not the "
    "paper's order. If not-shared is ahead by more than 1 point in all seeds, the paper's direction holds even here. Topics: "
    "the same within 2 points. Heads start at neighbours in the first layer; where attention is shared, in all, an advantage "
    "for masked tokens that the paper's do not have."
)


def table4(scale):
    """What layers share, at two widths of the embeddings."""
    made = stages("base", scale, {"mini": SHARING_MINI}, SHARING_MINI_TOPICS)
    width = made["pretrain"].config.model.hidden_size
    kinds = (("all-shared", "all"), ("shared-attention", "attention"), ("shared-FFN", "ffn"), ("not-shared", "none"))
    sizes = (768,) if scale == "mini" else (768, 128)
    rows = [
        Row(f"E{size} {name}", {"model.share": share, "model.embedding_size": width * size // 768})
        for size in sizes
        for name, share in kinds
    ]
    told = (
        ("E768 all-shared", "E768 not-shared", -1, "sharing everything hurts (4.5: -2.5 on average)"),
        ("E128 all-shared", "E128 not-shared", -1, "sharing everything hurts (4.5: -1.5 on average)"),
        ("E128 shared-attention", "E128 not-shared", 0, "sharing attention alone costs nothing (4.5: +0.1 on average)"),
        ("E768 shared-FFN", "E768 shared-attention", -1, "most of the drop is from sharing the FFN (4.5)"),
        ("E128 shared-FFN", "E128 shared-attention", -1, "most of the drop is from sharing the FFN (4.5)"),
    )
    names = {row.name for row in rows}
    return table(
        "4-sharing", "what layers share", scale,
        stages=made, rows=tuple(rows), columns=columns(scale, PARAMETERS), reference="E768 not-shared",
        claims=claims(scale, *(claim for claim in told if {*claim[:2]} <= names)),
        hypothesis="" if scale == "paper" else SHARING_HYPOTHESIS,
    )  # fmt: skip


# Table 5 at the scale mini, chosen by five pilots of the row SOP alone, with a seed that the table does not have; the other rows
# have its settings untuned, so if these favour a row, it is SOP. Of the demo's chunks of 64 tokens two in three are single
# sentences, of those of 128 one in five. Books have fewer; their only pilot shared all layers and weighed order with 1, as the
# demo's first one did, and both were at chance after 1.5 M tokens. Layers share the FFN alone, because `model.neighbours` makes
# the heads of layer 0 start at neighbours, and with attention shared those of both layers: plausible, not tried apart. With a
# weight of 1 the order began to be learned at step 700, with 4 and a higher rate at step 400.
PAIRS_MINI = {
    "steps": 2000,
    "data.heldout": 0.1,
    "phases.lengths": (128,),
    "model.max_positions": 128,
    "model.hidden_size": 64,
    "model.share": "ffn",
    "corruption.rate": 0.15,
    "losses.sop": 4.0,
    "optimizer.learning_rate": 3e-3,
    "run.evaluate_every": 2000,
}
# 39 % of a pilot's topics are right after two epochs of all articles at 64 tokens; always the most frequent one: 18 %.
PAIRS_MINI_TOPICS = {"data.heldout": 0.1, "phases.lengths": (64,), "task.epochs": 2.0, "optimizer.learning_rate": 1e-3}
PAIRS_HYPOTHESIS = (
    "A head trained on next sentences is at chance on exchanged ones, or below, within 3 points; one trained on order is "
    "above its chance by at least 5. That it solves next sentences is not expected in runs this short. Chance is the most "
    "frequent label's share: chunks of one sentence get a random second segment in both tasks, so neither is at 50 %. "
    "Masked tokens: the same within 0.5 points. Topics are one text each, where the paper's gains are on tasks of several "
    "sentences: the same within 1.5 points."
)


def table5(scale):
    """Sentence-pair losses: none, NSP, SOP."""
    made = stages("base", scale, {"mini": PAIRS_MINI}, PAIRS_MINI_TOPICS)
    weight = 4.0 if scale == "mini" else 1.0
    pairs = {
        f"evals.{kind}.{key}": value for kind in ("nsp", "sop") for key, value in (("module", "mean"), ("pairs", kind))
    }
    rows = (
        Row("none", {"losses.sop": 0.0}),
        Row("NSP", {"losses.sop": 0.0, "losses.nsp": weight, **pairs}),
        Row("SOP", pairs),
    )
    intrinsic = [percent(name.upper(), "pretrain", f"{name}/pair_accuracy") for name in ("nsp", "sop")]
    if scale != "paper":
        intrinsic += [percent(f"{name.upper()} chance", "pretrain", f"{name}/pair_chance") for name in ("nsp", "sop")]
    first = percent("MLM", "pretrain", "mlm_accuracy")
    found = (
        (*columns("paper"),)
        if scale == "paper"
        else (Column("mlm loss", "pretrain", "mlm_loss", higher=False), ablations.TOPICS)
    )
    main, same = ("avg", 1.0) if scale == "paper" else ("topics", 0.5)
    return table(
        "5-sop", "sentence order", scale,
        seeds={"paper": 5, "small": 5, "mini": 5, "smoke": 2},
        stages=made, rows=rows, columns=(first, *intrinsic, *found), reference="SOP",
        claims=(
            Claim("SOP", "NSP", "SOP", 1, text="next-sentence prediction does not solve sentence order (4.6: 52.0, chance)"),
            Claim("NSP", "SOP", "NSP", 1, text="sentence order solves next sentences to a degree (4.6: 78.9 beside 90.5)"),
            Claim("SOP", "none", main, 1, text="sentence order helps downstream (4.6: about +1 on average)"),
            Claim("SOP", "NSP", main, 1, text="sentence order helps downstream more than next sentences (4.6: about +1)"),
            Claim("NSP", "none", "MLM", 0, same, text="a loss on pairs takes little from masked tokens (Table 5: -0.4)"),
            Claim("SOP", "none", "MLM", 0, same, text="a loss on pairs takes little from masked tokens (Table 5: -0.9)"),
        ),
        hypothesis="" if scale == "paper" else PAIRS_HYPOTHESIS,
    )  # fmt: skip


def table8(scale):
    """Dropout in the largest model after a million steps."""
    made = stages(
        "xxlarge", scale, {"paper": {"steps": 1_000_000}, "small": SMALL | {"steps": 60_000}, "mini": {"steps": 3000}}
    )
    rows = tuple(
        Row(name, {"model.dropout": rate, "model.attention_dropout": rate})
        for name, rate in (("with", 0.1), ("without", 0.0))
    )
    return table(
        "8-dropout", "dropout", scale,
        stages=made, rows=rows, columns=columns(scale), reference="without",
        claims=claims(scale, ("without", "with", 1, "removing dropout helps, downstream and in masked tokens (4.8)")),
        hypothesis="" if scale == "paper" else (
            "The model does not overfit, as little as the paper's: every batch is nearly new to it. So dropout only takes "
            "capacity, and without it more masked tokens are right."
        ),
    )  # fmt: skip


def table11(scale):
    """Depth of `large`, each from the one before; parameters are the same."""
    depths = {"paper": (1, 3, 6, 12, 24, 48), "small": (1, 3, 6, 12, 24), "mini": (1, 3, 6, 12), "smoke": (1, 3, 6)}[
        scale
    ]
    at = {"small": SMALL | {"steps": 10_000}, "mini": {"steps": 800, "model.neighbours": (-1, 1, -2, 2)}}

    def depth(layers, before):
        config = model("albert", "large", scale, at=at)
        config.model.layers = layers
        config.init.run = f"@depth{before}" if before else ""
        return Stage(config, share_seed=scale == "paper", given=("model.layers",))  # before what the source says

    before = (0, *depths)
    made = {f"depth{layers}": depth(layers, start) for start, layers in zip(before, depths[:-1])}
    made["pretrain"] = depth(depths[-1], depths[-2])
    tasks = tuned("albert", "large", scale, TASKS, at={"mini": {"task.epochs": 2.0}})
    rows = tuple(
        Row(str(layers), {"pretrain/model.layers": layers, "pretrain/init.run": f"@depth{start}" if start else ""})
        for start, layers in zip(before, depths)
    )
    return table(
        "11-depth", "depth", scale,
        stages=made | tasks, rows=rows, columns=columns(scale), reference=str(depths[0]),
        claims=claims(
            scale,
            *(
                (str(deep), str(shallow), 1, "deeper is better, with diminishing gains (A.1)")
                for shallow, deep in zip(depths, depths[1:4])
            ),
        ),
        hypothesis="" if scale == "paper" else (
            "Each depth starts from the one before and so has been trained for longer, too, as in the paper: that deeper "
            "rows are better does not tell the two apart. Beyond three layers little is expected of a model this narrow."
        ),
    )  # fmt: skip


def table12(scale):
    """Width of three layers of `large`."""
    base = {"paper": 1024, "small": 256, "mini": 64, "smoke": 16}[scale]
    head = {"paper": 64, "small": 64, "mini": 32, "smoke": 16}[scale]
    made = stages("large", scale, {
        "paper": {"model.layers": 3}, "small": SMALL | {"model.layers": 3, "steps": 10_000},
        "mini": {"model.layers": 3, "steps": 700, "model.neighbours": (), "model.embedding_size": 64},
        "smoke": {"model.layers": 3},
    })  # fmt: skip
    rows = tuple(
        Row(str(width), {"model.hidden_size": width * base // 1024, "model.heads": width * base // 1024 // head})
        for width in (1024, 2048, 4096, 6144)
    )
    return table(
        "12-width", "width", scale,
        stages=made, rows=rows, columns=columns(scale, PARAMETERS), reference="1024",
        claims=claims(
            scale,
            ("2048", "1024", 1, "wider is better, with diminishing gains (A.1)"),
            ("4096", "2048", 1, "wider is better, with diminishing gains (A.1)"),
            ("6144", "4096", -1, "the widest declines (A.1)"),
        ),
        hypothesis="" if scale == "paper" else (
            "Wider is expected to be better throughout: at these widths the model is far from where the paper's declined."
        ),
    )  # fmt: skip


def table13(scale):
    """Depth of the widest."""
    made = stages("xxlarge", scale, {"small": SMALL | {"steps": 30_000}, "mini": {"steps": 3000}})
    layers = {"paper": (12, 24), "small": (4, 8), "mini": (2, 4), "smoke": (2, 4)}[scale]
    rows = tuple(Row(name, {"model.layers": number}) for name, number in zip(("12", "24"), layers, strict=True))
    return table(
        "13-wide-depth", "depth of the widest", scale,
        stages=made, rows=rows, columns=columns(scale), reference="12",
        claims=claims(scale, ("24", "12", 0, "twice the depth changes nothing in the widest (A.2)")),
        hypothesis="" if scale == "paper" else (
            "At this width depth still helps, as in Table 11's first rows; the paper's finding is about a model 4,096 wide."
        ),
    )  # fmt: skip


TABLES = {
    "table3": table3, "table4": table4, "table5": table5, "table8": table8, "table11": table11, "table12": table12,
    "table13": table13,
}  # fmt: skip


def get_sweep(variant="table5"):
    return ablations.choose(variant, TABLES)


def get_config(variant="table5"):
    return ablations.blocks(get_sweep(variant))
