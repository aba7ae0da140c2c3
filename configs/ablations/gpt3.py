"""GPT-3 by size and number of examples (Brown et al. 2020): Figures 1.2 and 1.3, Tables 3.9, 3.10 and H.1.

    .venv/bin/python scripts/sweep.py --config configs/ablations/gpt3.py:figure1.3,mini --workdir runs/gpt3

Every table is the same eight pre-trained models (Table 2.1), asked with no, one and few examples; few are each task's own K.
Figure 1.3's averages are not printed: they are means over the accuracies of Table H.1. Figure 1.2 is drawn only; its
prompt has the description, its dashed lines, without one, have no prompt here. Smaller scales are asked for topics and
titles of the demo corpus (docs/few-shot.md).
"""

from configs import ablations, gpt3
from configs.ablations import asked, model, percent, published, source
from ssl_jax.sweeps.tables import Claim, Column, Row, Stage, Table

SIZES = {
    "Small": "small", "Medium": "medium", "Large": "large", "XL": "xl", "2.7B": "2.7b", "6.7B": "6.7b", "13B": "13b",
    "175B": "175b",
}  # fmt: skip
SHOTS = {"zero": 0, "one": 1, "few": -2}
# Layers, width, heads of the first sizes of a table.
SHAPES = {
    "small": ((4, 256, 4), (6, 384, 6), (8, 512, 8), (10, 640, 10)),
    "mini": ((2, 64, 4), (2, 128, 4), (2, 192, 4)),
    "smoke": ((2, 16, 2), (2, 32, 2), (2, 48, 2)),
}
# Of a growing batch, as GPT-3's: an eighth of it at first.
SMALL = {"steps": 15_000, "ramp.start": 32, "ramp.share": 0.05, "phases.lengths": (256,), "model.max_positions": 256,
         "batch_size": 128, "model.local_window": 64}  # fmt: skip
ARITHMETIC = ("2D+", "2D-", "3D+", "3D-", "4D+", "4D-", "5D+", "5D-", "2Dx", "1DC")
SCRAMBLED = ("CL", "A1", "A2", "RI", "RW")


def rows_of(scale, names=tuple(SIZES)):
    """A Row for each size: its shape, and at the paper's scale its batch, rate and ramp, too."""
    if scale == "paper":
        return tuple(Row(name, stages={"pretrain": Stage(gpt3.get_config(SIZES[name]))}) for name in names)
    return tuple(
        Row(name, {f"model.{key}": value for key, value in zip(("layers", "hidden_size", "heads"), shape, strict=True)})
        for name, shape in zip(names, SHAPES[scale])
    )


def by_size(tables):
    """Cells of published tables with a row for each task and a column for each size, by size: {'zero': id, ...}."""
    found = {}
    for shots, name in tables.items():
        for row, cells in published(name).items():
            for size, cell in cells.items():
                found.setdefault(size, {})[f"{row} {shots}"] = cell
    return found


def of_largest(table):
    """Cells of a table with a row for each number of examples, all of 175B's."""
    return {
        "175B": {f"{task} {shots}": cell for shots, cells in published(table).items() for task, cell in cells.items()}
    }


def table(title, scale, stages, columns, cells, where, names=tuple(SIZES), claims=()):
    """`stages`, `columns`, `claims` are those of the paper's scale."""
    config = model("gpt3", "small", scale, small="mini", mini="few", at={"small": SMALL, "mini": {"steps": 1500}})
    if scale != "paper":
        at = {"small": {"seeds": 3, "limit": 1000}, "mini": {"shots": (0, 1, 4), "seeds": 3, "limit": 150}}
        stages = {"few": asked(scale, "demo", at=at)}
        shots = (0, 1) if scale == "smoke" else stages["few"].config.shots
        columns = (
            Column("clm loss", "pretrain", "clm_loss", higher=False),
            *(
                percent(f"{name} {number}" if number >= 0 else f"{name} as fit", "few", f"{task}/{number}/accuracy")
                for name, task in (("topic", "topic:unconditional"), ("title", "title:title"))
                for number in shots
            ),
        )
        first, *_, last = names[: len(SHAPES[scale])]
        claims = (
            Claim(last, first, "clm loss", -1, text="the loss falls smoothly with size (3, Figure 3.1)"),
            Claim(last, first, "title 0", 1, text="larger models do better without examples (1, Figure 1.3)"),
            Claim(last, first, "title 1", 1, text="and make better use of them (1, Figure 1.3)"),
        )
    rows = rows_of(scale, names)
    return Table(
        title,
        stages={"pretrain": Stage(config), **stages}, rows=rows, columns=tuple(columns), reference=rows[0].name,
        claims=tuple(claims), seeds={"paper": 1, "small": 2, "mini": 3, "smoke": 2}[scale], published=cells, source=where,
        hypothesis="" if scale == "paper" else (
            "Held-out loss falls with size. Answers without examples improve with it, by a few points; that examples help is "
            "not expected of models this small, as docs/few-shot.md found."
        ),
    )  # fmt: skip


def figure1_2(scale):
    """A symbol in a word is removed (RI, Table 3.10), by number of examples."""
    shots = (0, 1, 2, 4, 8, 16, 32, 64, 100)
    few = asked(scale, "gpt3", at={"paper": {"tasks": ("RI:gpt3",), "shots": shots, "average": ""}})
    columns = [percent(f"K={number}", "few", f"RI:gpt3/{number}/match") for number in shots]
    claims = (
        Claim("175B", "13B", "K=64", 1, text="larger models make increasingly efficient use of examples (Figure 1.2)"),
        Claim("13B", "XL", "K=64", 1, text="larger models make increasingly efficient use of examples (Figure 1.2)"),
    )
    return table(
        "GPT-3, Figure 1.2: use of examples", scale, {"few": few}, columns, {},
        "GPT-3, Figure 1.2: drawn, without printed values",
        ("XL", "13B", "175B"), claims,
    )  # fmt: skip


def figure1_3(scale):
    """The mean of all accuracies."""
    stages = {"zero": asked(scale, "gpt3_zero"), "few": asked(scale, "gpt3")}
    columns = [
        percent(f"average {name}", "few" if number else "zero", f"average:accuracies/{number}/average")
        for name, number in SHOTS.items()
    ]
    cells = published("gpt3-fig1.3-derived")
    by = {size: {f"average {shots}": cells[shots][size] for shots in SHOTS} for size in SIZES}
    claims = [
        Claim(
            "175B", "Small", f"average {name}", 1, text="performance grows with size, faster with examples (Figure 1.3)"
        )
        for name in SHOTS
    ]
    return table(
        "GPT-3, Figure 1.3: all accuracies", scale, stages, columns, by, source("gpt3-fig1.3-derived"), claims=claims
    )


def table_h1(scale):
    """LAMBADA, HellaSwag, TriviaQA and SuperGLUE."""
    zero, few = (
        ("lambada:last_word", "hellaswag:gpt3", "triviaqa:gpt3"),
        ("lambada:gpt3", "hellaswag:gpt3", "triviaqa:gpt3"),
    )
    stages = {
        "zero": asked(scale, "gpt3_zero", at={"paper": {"tasks": zero, "average": ""}}),
        "few": asked(scale, "gpt3", at={"paper": {"tasks": few, "average": ""}}),
        "superglue": asked(scale, "superglue"),
    }
    columns = []
    for name, number in SHOTS.items():
        lambada, stage = ("lambada:gpt3", "few") if number else ("lambada:last_word", "zero")
        columns += [
            percent(f"LAMBADA acc {name}", stage, f"{lambada}/{number}/accuracy"),
            Column(f"LAMBADA ppl {name}", stage, f"{lambada}/{number}/perplexity", higher=False),
            percent(f"HellaSwag {name}", stage, f"hellaswag:gpt3/{number}/accuracy"),
            percent(f"TriviaQA {name}", stage, f"triviaqa:gpt3/{number}/trivia"),
            percent(f"SuperGLUE avg {name}", "superglue", f"average:metrics/{number}/average"),
        ]
    claims = [
        Claim("175B", "Small", f"{task} {name}", 1, text="larger models are better (Table H.1)")
        for task in ("LAMBADA acc", "HellaSwag", "TriviaQA")
        for name in SHOTS
    ]
    cells = by_size({shots: f"gpt3-h1-selected-{shots}" for shots in SHOTS})
    return table(
        "GPT-3, Table H.1: tasks by size", scale, stages, columns, cells, source("gpt3-h1-selected-zero"), claims=claims
    )


def generated(scale, name, number, where, tasks):
    """A table of generated tasks, whose published row is the largest model's."""
    suite = tuple(f"{task}:gpt3" for task in tasks)
    stage = asked(scale, "gpt3", at={"paper": {"tasks": suite, "shots": tuple(SHOTS.values()), "average": ""}})
    columns = [
        percent(f"{task} {shots}", "few", f"{task}:gpt3/{count}/match")
        for shots, count in SHOTS.items()
        for task in tasks
    ]
    claims = [Claim("175B", "13B", f"{tasks[0]} few", 1, text=f"a jump from the second largest model (Figure {name})")]
    return table(
        f"GPT-3, Table {number}", scale, {"few": stage}, columns, of_largest(where), source(where), claims=claims
    )


def table3_9(scale):
    """Arithmetic."""
    return generated(scale, "3.10", "3.9: arithmetic", "gpt3-table3.9-arith", ARITHMETIC)


def table3_10(scale):
    """Scrambled words."""
    return generated(scale, "3.11", "3.10: scrambled words", "gpt3-table3.10-scramble", SCRAMBLED)


TABLES = {
    "figure1.2": figure1_2, "figure1.3": figure1_3, "tableH.1": table_h1, "table3.9": table3_9, "table3.10": table3_10,
}  # fmt: skip


def get_sweep(variant="figure1.3"):
    return ablations.choose(variant, TABLES)


def get_config(variant="figure1.3"):
    return ablations.blocks(get_sweep(variant))
