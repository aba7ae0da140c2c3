"""ELECTRA's ablations (Clark et al. 2020, sections 3.2, 3.3 and 3.5): GLUE's dev sets without WNLI.

    .venv/bin/python scripts/sweep.py --config configs/ablations/electra.py:table5,mini --workdir runs/electra-5

The score is the mean of eight tasks: Spearman's correlation for STS-B, Matthews' for CoLA, accuracy for the others
(section 3.1), each the median of ten seeds from one pre-training. Rows of Table 5 are trained for as much compute (Table 6
there: BERT for a million steps, ELECTRA for 766,000); `small` sets that as a budget of FLOPs. Figure 3's values are only
drawn.
"""

from configs import ablations
from configs.ablations import mean_of, model, percent, published, source, tuned
from ssl_jax.sweeps.tables import Claim, Column, Row, Stage, Table

TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
METRICS = {"cola": "matthews", "stsb": "spearman"}
MEDIAN = dict(statistic="median")
COLUMNS = (
    *(percent(task, task, METRICS.get(task, "accuracy"), **MEDIAN) for task in TASKS),
    mean_of("GLUE", TASKS, **MEDIAN),
)
SEEDS = {"paper": 10, "small": 3, "mini": 3, "smoke": 2}
NO_GENERATOR = {"losses.rtd": 0.0, "generator.kind": "none"}
# FLOPs of one pre-training at the scale small, about 20,000 steps of the 12 x 256 model and its generator.
BUDGET = 5e16
SMALL = {"steps": 20_000}


def columns(scale):
    return COLUMNS if scale == "paper" else (ablations.TOPICS,)


def stages(size, scale, at=None, flops=0.0, topics=None):
    """Pre-training and fine-tuning.

    Args:
      size, scale: see `ablations.model`.
      at: {scale: changes of pre-training}.
      flops: the budget of pre-training at the scale small.
      topics: changes of fine-tuning at mini.
    """
    at = {"small": SMALL} | (at or {})
    config = model("electra", size, scale, at=at)
    return {
        "pretrain": Stage(config, flops=flops if scale == "small" else 0.0, share_seed=scale == "paper"),
        **tuned("electra", size, scale, TASKS, at={"mini": topics or {"task.epochs": 2.0}}),
    }


def claims(scale, *told):
    """Claims about (row, reference, direction, text) on GLUE, or at smaller scales on topics."""
    column, band = ("GLUE", 0.5) if scale == "paper" else ("topics", 1.0)
    return tuple(
        Claim(row, reference, column, direction, 0.0 if direction else band, text)
        for row, reference, direction, text in told
    )


# Table 5 at the scale mini: the demo's generator, which is the discriminator itself (docs/demos.md), half as wide.
MINI = {"steps": 1200, "data.heldout": 0.1, "model.hidden_size": 64, "optimizer.learning_rate": 3e-3}
MINI_TOPICS = {"data.heldout": 0.1, "task.epochs": 2.0, "optimizer.learning_rate": 1e-3}
HYPOTHESIS = (
    "As one network with the generator, all rows are trained on masked tokens, and topics mostly tell how well; a discriminator "
    "has little to detect before the generator has left the frequencies of tokens behind. BERT has the whole trunk for masked "
    "tokens, and more steps at equal compute: it is expected ahead or the same, not the paper's order. ELECTRA is at least as "
    "good as ELECTRA 15 %, if anything. Rows within 2 points of topics count as the same."
)


def table5(scale):
    """From BERT to ELECTRA in steps."""
    made = stages("base", scale, {"mini": MINI}, BUDGET, MINI_TOPICS)
    # At equal compute BERT takes more steps: at the scale small, as many as the budget allows; at mini, the paper's ratio.
    more = {"paper": {"steps": 1_000_000}, "mini": {"steps": 1570}}.get(scale, {})
    masked = (percent("mlm accuracy", "pretrain", "mlm_accuracy"),) if scale == "mini" else ()
    rows = (
        Row("ELECTRA"),
        Row("All-Tokens MLM", {"losses.rtd": 0.0, "losses.all_tokens": 1.0}),
        Row("Replace MLM", {"losses.rtd": 0.0, "losses.replaced_mlm": 1.0}),
        Row("ELECTRA 15%", {"losses.rtd": 0.0, "losses.rtd_masked": made["pretrain"].config.losses.rtd}),
        Row("BERT", NO_GENERATOR | more),
    )
    return Table(
        "ELECTRA, Table 5: efficiency", stages=made, rows=rows, columns=(*masked, *columns(scale)), reference="ELECTRA",
        claims=claims(
            scale,
            ("ELECTRA", "ELECTRA 15%", 1, "a loss at all tokens is worth most of the gain (3.5)"),
            ("ELECTRA", "All-Tokens MLM", 1, "ELECTRA gains more than from all tokens alone (3.5)"),
            ("All-Tokens MLM", "Replace MLM", 1, "All-Tokens MLM closes most of the gap between BERT and ELECTRA (3.5)"),
            ("Replace MLM", "BERT", 1, "without [MASK], BERT is slightly better (3.5: 82.4 and 82.2)"),
            ("ELECTRA 15%", "BERT", 1, "the same without all tokens (3.5: 82.4 and 82.2)"),
        ),
        seeds=(SEEDS | {"mini": 5})[scale], published=published("electra-table5"), source=source("electra-table5"),
        hypothesis="" if scale == "paper" else HYPOTHESIS,
    )  # fmt: skip


def figure3_left(scale):
    """The generator's size, as a share of the discriminator's width."""
    at = {"mini": {"steps": 2200, "generator.tying": "embeddings"}}
    made = stages("base", scale, at)
    rows = [Row("unigram", {"losses.mlm": 0.0, "generator.kind": "unigram"})]
    rows += [
        Row(name, {"generator.size": size}) for name, size in (("1/8", 0.125), ("1/4", 0.25), ("1/2", 0.5), ("1", 1.0))
    ]
    return Table(
        "ELECTRA, Figure 3, left: generator size", stages=made, rows=tuple(rows), columns=columns(scale), reference="1",
        claims=claims(
            scale,
            ("1/4", "1", 1, "generators of 1/4 to 1/2 of the width are best (3.2)"),
            ("1/2", "1", 1, "generators of 1/4 to 1/2 of the width are best (3.2)"),
            ("1/4", "unigram", 1, "and better than frequencies alone (Figure 3)"),
        ),
        seeds=SEEDS[scale], source="ELECTRA, Figure 3, left: drawn, without printed values",
        hypothesis="" if scale == "paper" else (
            "A larger generator has learned more when the run ends, so that here larger may be better throughout: the paper's "
            "optimum is about generators too good for their discriminators."
        ),
    )  # fmt: skip


def figure3_right(scale):
    """How generator and discriminator are trained."""
    # The discriminator starts from the generator: as wide, with heads of 64 and tables of its own width.
    heads = {"small": 4, "mini": 2, "smoke": 1}
    at = {name: {"model.heads": number, "model.embedding_size": 0} for name, number in heads.items()}
    at["small"] |= SMALL
    at["mini"] |= {"steps": 2200, "model.neighbours": (-1, 1), "generator.tying": "embeddings", "generator.size": 0.5}
    made = stages("base", scale, at)
    rows = (
        Row("ELECTRA"),
        Row("Two-Stage ELECTRA", {"generator.first_stage": 0.5, "generator.tying": "none", "generator.size": 1.0}),
        Row("Adversarial ELECTRA", {"losses.mlm": 0.0, "losses.adversarial": 1.0}),
        Row("BERT", NO_GENERATOR),
    )
    return Table(
        "ELECTRA, Figure 3, right: training", stages=made, rows=rows, columns=columns(scale), reference="ELECTRA",
        claims=claims(
            scale,
            ("ELECTRA", "Two-Stage ELECTRA", 1, "neither alternative does as well as joint training (3.2)"),
            ("ELECTRA", "Adversarial ELECTRA", 1, "neither alternative does as well as joint training (3.2)"),
            ("Adversarial ELECTRA", "BERT", 1, "both are still better than BERT (Figure 3)"),
            ("Two-Stage ELECTRA", "BERT", 1, "both are still better than BERT (Figure 3)"),
        ),
        seeds=SEEDS[scale], source="ELECTRA, Figure 3, right: drawn, without printed values",
        hypothesis="" if scale == "paper" else (
            "An adversarial generator learns slowly from its reward (58 % instead of 65 % of masked tokens right, appendix F) "
            "and in a short run hardly at all. The two-stage discriminator starts from a trained model, an advantage here."
        ),
    )  # fmt: skip


def tying(scale):
    """What generator and discriminator of the same size share."""
    at = {"paper": {"steps": 500_000}, "mini": {"steps": 2200}}
    made = stages("base", scale, at)
    config = made["pretrain"].config
    config.generator.update(size=1.0, tying="embeddings")
    if scale in ("small", "smoke"):
        config.model.embedding_size = 0  # as wide as the trunk, so that untied tables are no larger
    rows = (
        Row("none", {"generator.tying": "none"}),
        Row("token embeddings"),
        Row("all weights", {"generator.tying": "all"}),
    )
    return Table(
        "ELECTRA, section 3.2: tying", stages=made, rows=rows, columns=columns(scale), reference="token embeddings",
        claims=claims(
            scale,
            ("token embeddings", "none", 1, "the generator's loss teaches the embeddings more than the discriminator's (3.2)"),
            ("all weights", "token embeddings", 0, "tying all weights adds hardly anything (3.2: 84.4 and 84.3)"),
        ),
        seeds=SEEDS[scale], published=published("electra-tying"), source=source("electra-tying"),
        hypothesis="" if scale == "paper" else (
            "In the demo's few minutes the trunk learns little from replaced tokens and much from masked ones: tying all "
            "weights is expected to be worth ten points on topics, as docs/finetune.md found, not 0.1."
        ),
    )  # fmt: skip


def table1(scale):
    """ELECTRA-Small, and for fractions of its steps."""
    at = {"small": SMALL | {"steps": 32_000}, "mini": {"steps": 4000}}
    made = stages("small", scale, at)
    steps = made["pretrain"].config.steps
    rows = [Row("BERT-Small", NO_GENERATOR | ({"steps": 1_450_000} if scale == "paper" else {}))]
    rows += [Row("ELECTRA-Small")]
    shares = (("50% trained", 2), ("25%", 4), ("12.5%", 8), ("6.25%", 16))
    rows += [Row(f"ELECTRA-Small {name}", {"steps": steps // part}) for name, part in shares]
    if scale == "paper":
        for name, paper in (("BERT-Base", "bert"), ("ELECTRA-Base", "electra")):
            base = Stage(model(paper, "base", scale), share_seed=True)
            rows.append(Row(name, stages={"pretrain": base, **tuned(paper, "base", scale, TASKS)}))
    return Table(
        "ELECTRA, Table 1: small models", stages=made, rows=tuple(rows),
        columns=(Column("params", "pretrain", "parameters", higher=False), *columns(scale)), reference="ELECTRA-Small",
        claims=claims(
            scale,
            ("ELECTRA-Small", "BERT-Small", 1, "more efficient than BERT of the same size (3.3: 79.9 and 75.1)"),
            ("ELECTRA-Small 25%", "BERT-Small", 1, "after a quarter of the steps, too (3.3: 77.7)"),
            ("ELECTRA-Small", "ELECTRA-Small 25%", 1, "and it goes on improving (Table 1)"),
        ),
        seeds=SEEDS[scale], published=published("electra-table1"), source=source("electra-table1"),
        hypothesis="" if scale == "paper" else (
            "More steps are better throughout. The shortest runs have not left the frequencies of tokens behind: there the "
            "discriminator has nothing to detect, so that it is little better than a model without pre-training."
        ),
    )  # fmt: skip


TABLES = {
    "table1": table1, "table5": table5, "figure3-left": figure3_left, "figure3-right": figure3_right, "tying": tying,
}  # fmt: skip


def get_sweep(variant="table5"):
    return ablations.choose(variant, TABLES)


def get_config(variant="table5"):
    return ablations.blocks(get_sweep(variant))
