"""TinyBERT's ablations (Jiao et al. 2019, section 4.4 and appendix C): TinyBERT4 on the dev sets of MNLI, MRPC and CoLA.

    .venv/bin/python scripts/sweep.py --config configs/ablations/tinybert.py:table2,mini --workdir runs/tinybert-2

Each row is a general distillation, and for each task a fine-tuned teacher, the intermediate stage and the prediction stage.
MRPC is measured by accuracy: the paper prints F1 where it says so (appendix, Table 5: 90.6 / 86.3). Augmented data are made
beforehand (scripts/augment.py), one file for each task: augmented/mnli.jsonl, mrpc.jsonl, cola.jsonl; the smaller
scales have none, and so no row without them.
"""

from configs import ablations
from configs.ablations import mean_of, model, percent, published, source, tuned
from ssl_jax.sweeps.tables import Claim, Row, Stage, Table

TASKS = ("mnli", "mrpc", "cola")
COLUMNS = (
    percent("MNLI-m", "mnli"),
    percent("MNLI-mm", "mnli", "heldout_mismatched/accuracy"),
    percent("MRPC", "mrpc"),
    percent("CoLA", "cola", "matthews"),
    mean_of("avg", ("MNLI-m", "MNLI-mm", "MRPC", "CoLA")),
)
SIZE = dict(small="mini")  # a student of 4 x 256; its teacher has 8 x 512
TEACHER = dict(small="medium")
SMALL = {"steps": 20_000, "optimizer.learning_rate": 5e-4}
FULL = "TinyBERT4"


def tasks_of(scale):
    return TASKS if scale == "paper" else ("topics",)


def stages(scale, augmented, at=None):
    """Teacher, general distillation and a task's three stages.

    Args:
      scale: of SCALES.
      augmented: whether tasks have augmented data, if the scale has any.
      at: stage -> what differs at the scale mini: 'teacher', 'general'; 'task' is all three of a task's.
    """
    at = {"teacher": {}, "general": {}, "task": {}} | (at or {})
    teacher = model("bert", "base", scale, **TEACHER, at={"small": SMALL, "mini": {"steps": 3000} | at["teacher"]})
    general = model("tinybert", "4-312", scale, **SIZE, at={"small": {"steps": 10_000}, "mini": at["general"]})
    general.teacher.runs = ("@teacher",)
    made = {"teacher": Stage(teacher, share_seed=True), "general": Stage(general, share_seed=scale == "paper")}
    for task in tasks_of(scale):
        tuned_teacher = tuned("bert", "base", scale, (task,), **TEACHER, source="@teacher", at={"mini": at["task"]})
        made[f"{task}-teacher"] = Stage(tuned_teacher[task].config, share_seed=True)
        for name, before in (("intermediate", "@general"), ("prediction", f"@{task}-intermediate")):
            suffixes = f",{name}" + (f",{task}" if scale == "paper" else "")
            faster = {"small": {"task.epochs": 6.0 if name == "intermediate" else 3.0}}
            config = model("tinybert", "4-312", scale, **SIZE, suffixes=suffixes, at=faster | {"mini": at["task"]})
            config.init.run = before
            config.teacher.runs = () if task == "stsb" else (f"@{task}-teacher",)
            if augmented and scale == "paper":
                config.task.augmented = f"augmented/{task}.jsonl"
            made[task if name == "prediction" else f"{task}-{name}"] = Stage(config)
    return made


def fine_tuned(scale, run):
    """Stages in which a model is fine-tuned as any other, without a teacher: {task: Stage}."""
    return tuned("tinybert", "4-312", scale, TASKS, **SIZE, source=run)


def each(scale, stage, changes):
    """{'STAGE/key': value} for a stage of every task: 'intermediate', or '' for the last."""
    return {
        f"{task}-{stage}/{key}".replace("-/", "/"): value for task in tasks_of(scale) for key, value in changes.items()
    }


def table(number, where, name, scale, made, rows, claims, reference=FULL, hypothesis=""):
    main = "avg" if scale == "paper" else "topics"
    names = {row.name for row in rows}
    return Table(
        f"TinyBERT, Table {number}: {name}",
        stages=made, rows=tuple(rows), columns=COLUMNS if scale == "paper" else (ablations.TOPICS,), reference=reference,
        claims=tuple(
            Claim(row, other, main, direction, text=text) for row, other, direction, text in claims if {row, other} <= names
        ),
        seeds={"paper": 1, "small": 3, "mini": 3, "smoke": 2}[scale], published=published(where), source=source(where),
        hypothesis="" if scale == "paper" else hypothesis,
    )  # fmt: skip


def table2(scale):
    """Without general distillation, task distillation, augmented data."""
    rows = [
        Row(FULL),
        Row("w/o GD", each(scale, "intermediate", {"init.run": "none"})),
        Row("w/o TD", stages=fine_tuned(scale, "@general")),
    ]
    if scale == "paper":
        rows.append(
            Row("w/o DA", each(scale, "intermediate", {"task.augmented": ""}) | each(scale, "", {"task.augmented": ""}))
        )
    told = "all procedures are crucial; task distillation and augmentation count most (4.4)"
    return table(
        2, "tinybert-table2-procedure", "procedures", scale, stages(scale, augmented=True), rows,
        [(row.name, FULL, -1, told) for row in rows[1:]] + [("w/o TD", "w/o GD", -1, told)],
        hypothesis=(
            "Without augmented data a task is the demo's articles, few for a student from random values: general "
            "distillation is expected to count more than in the paper."
        ),
    )  # fmt: skip


def table3(scale):
    """Without each of the matching losses, or the prediction's."""

    def without(*losses):
        changes = {f"losses.{loss}": 0.0 for loss in losses}
        return {f"general/{key}": value for key, value in changes.items()} | each(scale, "intermediate", changes)

    rows = [
        Row(FULL),
        Row("w/o Embd", without("embedding")),
        Row("w/o Pred", each(scale, "", {"losses.soft_labels": 0.0, "losses.classify": 1.0, "teacher.runs": ()})),
        Row("w/o Trm", without("attention", "hidden")),
        Row("w/o Attn", without("attention")),
        Row("w/o Hidn", without("hidden")),
    ]
    return table(
        3, "tinybert-table3-objectives", "objectives", scale, stages(scale, augmented=True), rows,
        [
            *((row.name, FULL, -1, "all objectives are useful (4.4)") for row in rows[1:]),
            ("w/o Trm", "w/o Pred", -1, "without the layers it loses most, from 75.6 to 56.3 (4.4)"),
            ("w/o Attn", "w/o Hidn", -1, "attention counts more than hidden states (4.4)"),
        ],
        hypothesis=(
            "One layer is matched with the teacher's last: without it only embeddings are, so that the prediction stage "
            "starts from nearly nothing. A single loss less is expected to be within the seeds' errors."
        ),
    )  # fmt: skip


def table4(scale):
    """Which layer of the teacher teaches which."""
    # Uniform, top and bottom differ only with two layers of four.
    made = stages(scale, augmented=True, at={"teacher": {"model.layers": 4}, "general": {"model.layers": 2}})
    if scale == "smoke":
        made["teacher"].config.model.layers = 4
    rows = [
        Row(
            name, {"general/teacher.layer_map": kind} | each(scale, "intermediate", {"teacher.layer_map": kind})
        ) for name, kind in (("uniform g=3m", "uniform"), ("top g=m+N-M", "top"), ("bottom g=m", "bottom"))
    ]  # fmt: skip
    return table(
        4, "tinybert-table4-mapping", "layer mapping", scale, made, rows,
        [(row.name, rows[0].name, -1, "uniform covers bottom to top and is best (4.4)") for row in rows[1:]],
        reference=rows[0].name,
        hypothesis="Of four layers, two: the last ones and every second share one, so that little but the bottom differs.",
    )  # fmt: skip


def table7(scale):
    """A student that was pre-trained instead of distilled, with and without task distillation; no augmented data."""
    shape = {"model.layers": 4, "model.hidden_size": 312, "model.heads": 12, "model.ffn_size": 1200}
    at = {"paper": shape, "small": SMALL, "mini": {"steps": 3000, "model.layers": 1, "model.hidden_size": 64}}
    tiny = model("bert", "base", scale, small="mini", at=at)
    made = stages(scale, augmented=False)
    made = {"teacher": made.pop("teacher"), "tiny": Stage(tiny, share_seed=scale == "paper"), **made}
    rows = [
        Row("BERT-tiny", stages=fine_tuned(scale, "@tiny")),
        Row("BERT-tiny + TD", each(scale, "intermediate", {"init.run": "@tiny"})),
        Row("TinyBERT GD only", stages=fine_tuned(scale, "@general")),
        Row("TinyBERT GD+TD (no DA)"),
    ]
    last = rows[-1].name
    return table(
        7, "tinybert-table7-init", "start", scale, made, rows,
        [
            ("BERT-tiny", "TinyBERT GD only", 1, "pre-training is the better start for fine-tuning (appendix C)"),
            ("BERT-tiny + TD", last, -1, "general distillation for task distillation (appendix C)"),
        ],
        reference=last,
        hypothesis=(
            "BERT-tiny has predicted masked tokens for thousands of steps, the student has matched its teacher for hundreds: "
            "pre-training is expected to be ahead in fine-tuning, and not behind in task distillation."
        ),
    )  # fmt: skip


TABLES = {"table2": table2, "table3": table3, "table4": table4, "table7": table7}


def get_sweep(variant="table2"):
    return ablations.choose(variant, TABLES)


def get_config(variant="table2"):
    return ablations.blocks(get_sweep(variant))
