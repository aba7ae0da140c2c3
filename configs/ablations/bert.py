"""BERT's ablations (Devlin et al. 2018, section 5); columns are its dev sets.

    .venv/bin/python scripts/sweep.py --config configs/ablations/bert.py:table5,mini --workdir runs/bert-5

Table 6 prints the perplexity of masked tokens; here its logarithm is a column, the loss, in nats. In Table 8 one uncased
pre-training serves both tasks, as the paper does not say that it has two; so its names are found without case.
Figure 5 fine-tunes one run's checkpoints, after 30,000 to a million steps (`init.step`), which that run keeps: 100 of them.
"""

import dataclasses
import math

from configs import ablations, finetune
from configs.ablations import model, percent, published, source, tuned
from ssl_jax.sweeps.tables import Claim, Column, Row, Stage, Table

SMALL = {"steps": 20_000, "optimizer.learning_rate": 5e-4}
BEST = dict(statistic="best")  # section 4.1: the best on the dev set
SEEDS = {"paper": 5, "small": 3, "mini": 3, "smoke": 2}


def table(number, name, scale, **made):
    where = f"bert-table{number}"
    made = {"published": published(where)} | made
    return Table(f"BERT, Table {number}: {name}", source=source(where), seeds=SEEDS[scale], **made)


def table5(scale):
    """Pre-training tasks: no NSP, left to right, and a BiLSTM on top of that."""
    tasks = ("mnli", "qnli", "mrpc", "sst2", "squad")
    causal = {"paper": {}, "small": {}, "mini": {"model.neighbours": (0, -1, -2, -3)}, "smoke": {}}[scale]
    left = {
        "losses.nsp": 0.0, "losses.mlm": 0.0, "losses.clm": 1.0, "model.pooler": "none", "*/model.causal": True, **causal,
    }  # fmt: skip
    config = model("bert", "base", scale, at={"small": SMALL, "mini": {"steps": 3000}})
    at = {"mini": {"task.epochs": 2.0}}
    top = {"mini": at["mini"] | {"task.lstm_size": 64}}
    rows = (
        Row("BERT-base"),
        Row("No NSP", {"losses.nsp": 0.0}),
        Row("LTR & No NSP", left),
        Row("LTR & No NSP + BiLSTM", left, stages=tuned("bert", "base", scale, tasks, suffixes=",bilstm", at=top)),
    )
    columns = (
        percent("MNLI-m acc", "mnli", **BEST), percent("QNLI acc", "qnli", **BEST), percent("MRPC acc", "mrpc", **BEST),
        percent("SST-2 acc", "sst2", **BEST), percent("SQuAD1.1 F1", "squad", "f1", **BEST),
    )  # fmt: skip
    claims = [
        ("No NSP", "BERT-base", "QNLI acc", -1, "without NSP QNLI, MNLI and SQuAD lose significantly (5.1)"),
        ("No NSP", "BERT-base", "MNLI-m acc", -1, "without NSP QNLI, MNLI and SQuAD lose significantly (5.1)"),
        ("LTR & No NSP", "No NSP", "MRPC acc", -1, "left to right is worse on all tasks, most on MRPC and SQuAD (5.1)"),
        (
            "LTR & No NSP",
            "No NSP",
            "SQuAD1.1 F1",
            -1,
            "left to right is worse on all tasks, most on MRPC and SQuAD (5.1)",
        ),
        ("LTR & No NSP + BiLSTM", "LTR & No NSP", "SQuAD1.1 F1", 1, "a BiLSTM helps on SQuAD (5.1)"),
        ("LTR & No NSP + BiLSTM", "No NSP", "SQuAD1.1 F1", -1, "but is far from a bidirectional model (5.1)"),
    ]
    if scale != "paper":
        columns = (ablations.TOPICS,)
        claims = [
            ("LTR & No NSP", "No NSP", "topics", -1, "left to right is worse on all tasks (5.1)"),
            ("LTR & No NSP + BiLSTM", "No NSP", "topics", -1, "a BiLSTM does not make up for it (5.1)"),
        ]
    return table(
        5, "pre-training tasks", scale,
        stages={"pretrain": Stage(config, share_seed=scale == "paper"), **tuned("bert", "base", scale, tasks, at=at)},
        rows=rows, columns=columns, reference="BERT-base", claims=tuple(Claim(*four, text=text) for *four, text in claims),
        hypothesis="" if scale == "paper" else (
            "A topic is read from a whole article, where the last token of a left-to-right model has seen as much as the first "
            "of a bidirectional one: a small difference, if any. NSP is not expected to help with single texts."
        ),
    )  # fmt: skip


# Table 6: layers, width, heads; at smaller scales a third of the layers.
SHAPES = {
    "L3 H768 A12": (3, 768, 12),
    "L6 H768 A3": (6, 768, 3),
    "L6 H768 A12": (6, 768, 12),
    "L12 H768 A12": (12, 768, 12),
    "L12 H1024 A16": (12, 1024, 16),
    "L24 H1024 A16": (24, 1024, 16),
}
# scale -> what widths and heads are divided by.
DIVISORS = {"small": (2, 1), "mini": (8, 4), "smoke": (32, 4)}


def shape(scale, layers, width, heads):
    if scale == "paper":
        return layers, width, heads
    narrower, fewer = DIVISORS[scale]
    return layers // 3, width // narrower, -(-heads // fewer)


def table6(scale):
    """Sizes."""
    tasks = ("mnli", "mrpc", "sst2")
    config = model(
        "bert", "base", scale, at={"small": SMALL | {"steps": 12_000}, "mini": {"steps": 1000, "model.neighbours": ()}}
    )
    rows = []
    for name, sizes in SHAPES.items():
        layers, width, heads = shape(scale, *sizes)
        rows.append(Row(name, {"model.layers": layers, "model.hidden_size": width, "model.heads": heads}))
    cells = published("bert-table6")
    for cell in cells.values():  # a perplexity is printed, its logarithm measured
        perplexity = cell.pop("LM ppl")
        cell["mlm loss"] = {
            "text": f"ln {perplexity['text']}",
            "value": math.log(perplexity["value"]),
            "status": "derived",
        }
    accuracies = (percent("MNLI-m", "mnli"), percent("MRPC", "mrpc"), percent("SST-2", "sst2"))  # means of 5 restarts
    columns = (
        Column("params (derived)", "pretrain", "parameters", higher=False),
        Column("mlm loss", "pretrain", "mlm_loss", higher=False),
        *(accuracies if scale == "paper" else (ablations.TOPICS,)),
    )
    main = "MNLI-m" if scale == "paper" else "topics"
    larger = [("L6 H768 A12", "L3 H768 A12"), ("L12 H768 A12", "L6 H768 A12"), ("L24 H1024 A16", "L12 H768 A12")]
    return table(
        6, "size", scale,
        stages={
            "pretrain": Stage(config, share_seed=scale == "paper"),
            **tuned("bert", "base", scale, tasks, at={"mini": {"task.epochs": 2.0}}),
        },
        rows=tuple(rows), columns=columns, reference="L12 H768 A12", published=cells,
        claims=tuple(
            Claim(one, other, column, direction, text=told)
            for column, direction, told in (
                ("mlm loss", -1, "larger models predict masked tokens better (Table 6)"),
                (main, 1, "larger models are better on every task, however small (5.2)"),
            )
            for one, other in larger
        ),
        hypothesis="" if scale == "paper" else (
            "Wider and deeper models predict masked tokens better after as many steps, as long as those are enough to leave "
            "the frequencies of tokens behind; the deepest may not be there yet."
        ),
    )  # fmt: skip


FEATURES = {
    "feature: embeddings": "embeddings",
    "feature: second-to-last hidden": "second_to_last",
    "feature: last hidden": "last",
    "feature: weighted sum last four": "weighted_sum_last_four",
    "feature: concat last four": "concat_last_four",
    "feature: weighted sum all 12": "weighted_sum_all",
}


def table7(scale):
    """Named entities: fine-tuning, and features of a frozen model."""
    task = "conll2003" if scale == "paper" else "topics"
    at = {"small": {"task.lstm_size": 256}, "mini": {"task.epochs": 2.0, "task.lstm_size": 64}}
    # The rate of features is the recipe's own, at every scale: only LSTMs are trained.
    frozen = {scale: at.get(scale, {}) | {"optimizer.learning_rate": 1e-3} for scale in ("small", "mini")}
    layers = {"paper": 12, "small": 4, "mini": 4, "smoke": 4}[scale]  # the last four, of all
    config = model(
        "bert", "base", scale, suffixes=",cased" * (scale == "paper"),
        at={
            "small": SMALL | {"steps": 40_000}, "mini": {"steps": 4000, "model.layers": layers},
            "smoke": {"model.layers": layers},
        },
    )  # fmt: skip
    large = {"model.layers": 24, "model.hidden_size": 1024, "model.heads": 16}
    rows = [Row("fine-tune large", large)] if scale == "paper" else []
    rows += [Row("fine-tune base")]
    for name, kind in FEATURES.items():
        stage = tuned("bert", "base", scale, ("conll2003",), suffixes=",features", at=frozen)
        rows.append(Row(name, {f"{task}/task.features": kind}, stages=stage))
    columns = (percent("dev F1", task, "ner_f1"), percent("test F1", task, "test/ner_f1"))
    column = "dev F1" if scale == "paper" else "topics"
    best = "feature: concat last four"
    return table(
        7, "features", scale,
        stages={"pretrain": Stage(config, share_seed=True), **tuned("bert", "base", scale, ("conll2003",), at=at)},
        rows=tuple(rows), columns=columns if scale == "paper" else (ablations.TOPICS,), reference="fine-tune base",
        claims=(
            Claim(best, "fine-tune base", column, 0, 0.5 if scale == "paper" else 1.0, "0.3 behind fine-tuning (5.3)"),
            Claim(best, "feature: last hidden", column, 1, text="the last four layers are better than the last (table)"),
            Claim("feature: last hidden", "feature: embeddings", column, 1, text="layers are better than embeddings (table)"),
        ),
        hypothesis="" if scale == "paper" else (
            "One pre-trained model, whose layers are read by LSTMs from several seeds. Embeddings know no context but name "
            "the words, of which a topic is made: they are expected closer to the layers than the paper's."
        ),
    )  # fmt: skip


# Table 8: MASK / SAME / RND in percent.
MASKS = ("80/10/10", "100/0/0", "80/0/20", "80/20/0", "0/20/80", "0/0/100")


def table8(scale):
    """What stands in place of a masked token."""
    config = model("bert", "base", scale, at={"small": SMALL, "mini": {"steps": 2000}})
    rows = []
    for name in MASKS:
        mask, _, random = (int(part) / 100 for part in name.split("/"))
        rows.append(Row(name, {"corruption.mask": mask, "corruption.random": random}))
    mini = {"mini": {"task.epochs": 2.0}}
    names = ("MNLI fine-tune", "NER fine-tune", "NER feature-based")
    if scale == "paper":
        frozen = finetune.get_config("bert-base,conll2003,features")
        frozen.init.run = "@pretrain"
        tasks = tuned("bert", "base", scale, ("mnli", "conll2003")) | {"features": Stage(frozen)}
        columns = (
            percent(names[0], "mnli"),
            percent(names[1], "conll2003", "ner_f1"),
            percent(names[2], "features", "ner_f1"),
        )
        claims = [(names[2], "feature-based, masks alone are a problem (appendix C.2)"), (names[0], "")]
    else:
        tasks = tuned("bert", "base", scale, (), at=mini)
        columns, claims = (ablations.TOPICS,), [("topics", "")]
    same = "fine-tuning is robust to what stands in place of a token (appendix C.2)"
    return table(
        8, "masking", scale,
        stages={"pretrain": Stage(config, share_seed=scale == "paper"), **tasks},
        rows=tuple(rows), columns=columns, reference=MASKS[0],
        claims=tuple(
            Claim("100/0/0", MASKS[0], column, -1 if text else 0, 0.0 if text else 0.5 if scale == "paper" else 1.5, text or same)
            for column, text in claims
        ),
        hypothesis="" if scale == "paper" else (
            "Fine-tuning adapts the model to texts without masks, so that topics differ by no more than seeds do, except "
            "where no token is ever hidden: there the model is trained to find wrong tokens first, a harder task."
        ),
    )  # fmt: skip


# Figure 5: pre-training steps in thousands, of a million.
STEPS = ("30", "50", "100", "200", "400", "600", "800", "1000")


def figure5(scale):
    """Fine-tuning from one run's checkpoints, masked and left to right (appendix C.1)."""
    total, kept, stored = {"paper": (1_000_000, STEPS, 10_000), "small": (20_000, STEPS, 200), "mini": (5000, STEPS[2:], 500),
                           "smoke": (20, STEPS[2:], 2)}[scale]  # fmt: skip
    # Every checkpoint that a row starts from is kept, and none is added by the clock.
    at = {
        "steps": total,
        "run.checkpoint_every": stored,
        "run.checkpoint_minutes": 0.0,
        "run.keep_checkpoints": total // stored,
    }
    masked, left = (
        model("bert", "base", scale, at={scale: (SMALL if scale == "small" else {}) | at}) for _ in range(2)
    )
    left.losses.update(nsp=0.0, mlm=0.0, clm=1.0)
    left.model.update(causal=True, pooler="none")
    if left.model.neighbours:
        left.model.neighbours = (0, -1, -2, -3)
    tuned_at = {"mini": {"task.epochs": 2.0}}
    stages = {"pretrain": Stage(masked, share_seed=scale == "paper"), "left": Stage(left, share_seed=scale == "paper")}
    for name, before in (("MLM", "pretrain"), ("LTR", "left")):
        (stage,) = tuned("bert", "base", scale, ("mnli",), source=f"@{before}", at=tuned_at).values()
        stage.config.model.causal = name == "LTR"
        stages[name] = dataclasses.replace(stage, given=("model.causal",))
    rows = tuple(
        Row(name, dict.fromkeys(("MLM/init.step", "LTR/init.step"), total * int(name) // 1000)) for name in kept
    )
    return Table(
        "BERT, Figure 5: pre-training steps, in thousands", stages=stages, rows=rows,
        columns=(percent("MLM", "MLM", **BEST), percent("LTR", "LTR", **BEST)), reference="1000",
        claims=(
            Claim("1000", "400", "MLM", 1, text="so many steps are necessary: it is still improving (C.1)"),
            Claim("400", "100", "MLM", 1, text="it converges slowly (C.1)"),
            Claim("400", "100", "LTR", 1, text="it converges slowly (C.1)"),
        ),
        seeds=SEEDS[scale], published=published("bert-fig5"), source=source("bert-fig5"),
        hypothesis="" if scale == "paper" else (
            "Rows are checkpoints of one run, whose rate has not come down before its end: early ones are worse for that, too. "
            "Left to right learns from every token, masked from a share, so that it is ahead at first."
        ),
    )  # fmt: skip


TABLES = {"table5": table5, "table6": table6, "table7": table7, "table8": table8, "figure5": figure5}


def get_sweep(variant="table5"):
    return ablations.choose(variant, TABLES)


def get_config(variant="table5"):
    return ablations.blocks(get_sweep(variant))
