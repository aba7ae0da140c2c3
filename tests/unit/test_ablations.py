"""The papers' tables: each is planned at every scale, measures what it names, and says of the published numbers what they say."""

import csv
import dataclasses
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from configs import ablations
from ssl_jax import tasks
from ssl_jax.errors import UserError
from ssl_jax.objectives import trained
from ssl_jax.sweeps import planning

PAPERS = sorted(path.stem for path in Path(ablations.__file__).parent.glob("[a-z]*.py"))
MODULES = {paper: importlib.import_module(f"configs.ablations.{paper}") for paper in PAPERS}
TABLES = [(paper, name) for paper, module in MODULES.items() for name in module.TABLES]
ALL = [(paper, name, scale) for paper, name in TABLES for scale in ablations.SCALES]


def table_of(paper, name, scale="paper"):
    return MODULES[paper].get_sweep(f"{name},{scale}")


def published(table, row, column):
    """A published number by names of ours, or None."""
    (cells,) = (table.published.get(one.published or one.name) for one in table.rows if one.name == row)
    (about,) = (one for one in table.columns if one.name == column)
    return about.number(cells)


# `small` differs from `mini` in sizes that the whole paper shares: of each paper one table is planned there.
PLANNED = [one for one in ALL if one[2] != "small" or one[1] == next(iter(MODULES[one[0]].TABLES))]


@pytest.mark.slow
@pytest.mark.parametrize("paper, name, scale", PLANNED)
def test_every_table_is_planned_at_every_scale(paper, name, scale):
    """Its rows are built by their shapes alone; only the published sets' files may be missing."""
    table = dataclasses.replace(table_of(paper, name, scale), seeds=1)
    planned = planning.plan(table)
    assert {row for row, _, _ in planned.cells} == {row.name for row in table.rows}
    assert all("tfds build" in run.unknown for run in planned.runs.values() if run.unknown)
    if scale != "paper":
        assert not any(run.unknown for run in planned.runs.values())
    if scale == "smoke":
        assert max(run.steps for run in planned.runs.values()) <= 20
        assert sum(run.flops for run in planned.runs.values()) < 1e12


# Columns with exact counts of encoder and pooler: ALBERT's rebuilt with `transformers` modules, BERT's with its own.
COUNTS = {"albert": ("params exact", ("table3", "table4", "table12")), "bert": ("params (derived)", ("table6",))}


@pytest.mark.slow
@pytest.mark.parametrize("paper, name", [(paper, name) for paper, (_, names) in COUNTS.items() for name in names])
def test_parameters_are_those_of_the_paper(paper, name):
    table, column = dataclasses.replace(table_of(paper, name), seeds=1), COUNTS[paper][0]
    planned = planning.plan(table)
    for row in table.rows:
        run = planned.runs[planned.cells[row.name, "pretrain", 0]]
        assert run.parameters == published(table, row.name, column), row.name


@pytest.mark.slow
def test_students_are_as_large_as_the_papers():
    planned = planning.plan(dataclasses.replace(table_of("tinybert", "table7"), seeds=1))
    found = {stage: planned.runs[name].parameters for (_, stage, _), name in planned.cells.items()}
    assert found["general"] == found["tiny"] == 14_350_248 and found["teacher"] == 109_482_240


# Rows of others' models, and columns that are not measured: printed sizes, times and means over other sets.
OTHERS = {
    "ELMo", "GPT", "prior SOTA", "multi-task BiLSTM+ELMo+Attn", "single-task BiLSTM+ELMo+Attn",
    "params paper", "train FLOPs", "infer FLOPs", "LM ppl",
}  # fmt: skip
# Table -> its id in published.csv, where names are the same on both sides.
IDS = {
    ("albert", "table3"): "albert-table3-embedding", ("albert", "table4"): "albert-table4-sharing",
    ("albert", "table5"): "albert-table5-sop", ("albert", "table8"): "albert-table8-dropout",
    ("albert", "table11"): "albert-table11-depth", ("albert", "table12"): "albert-table12-width",
    ("albert", "table13"): "albert-table13-wide-depth", ("bert", "table5"): "bert-table5", ("bert", "table6"): "bert-table6",
    ("bert", "table7"): "bert-table7", ("bert", "table8"): "bert-table8", ("bert", "figure5"): "bert-fig5",
    ("gpt1", "table5"): "gpt1-table5", ("gpt2", "table3"): "gpt2-table3-zeroshot", ("electra", "table1"): "electra-table1",
    ("electra", "table5"): "electra-table5", ("electra", "tying"): "electra-tying",
    ("decanlp", "multitask"): "decanlp-table-multitask", ("distilbert", "table4"): "distilbert-table4", ("tinybert", "table2"): "tinybert-table2-procedure",
    ("tinybert", "table3"): "tinybert-table3-objectives", ("tinybert", "table4"): "tinybert-table4-mapping",
    ("tinybert", "table7"): "tinybert-table7-init",
}  # fmt: skip


@pytest.mark.parametrize("paper, name", IDS)
def test_every_row_and_column_of_a_printed_table_is_there(paper, name):
    """A misspelt name would leave its numbers out without a word."""
    table, printed = table_of(paper, name), ablations.published(IDS[paper, name])
    rows = {row.published or row.name for row in table.rows}
    columns = {column.published or column.name for column in table.columns}
    assert printed.keys() - rows <= OTHERS
    assert {column for cells in printed.values() for column in cells} - columns <= OTHERS


@pytest.mark.parametrize("paper, name", TABLES)
def test_claims_are_true_of_the_published_numbers(paper, name):
    """The direction is the paper's; so are its numbers, where it prints them."""
    table = table_of(paper, name)
    difference = {column.name for column in table.columns if column.difference}
    for claim in table.claims:
        row, reference = (published(table, which, claim.column) for which in (claim.row, claim.reference))
        if claim.column in difference and claim.reference == table.reference:
            reference = 0.0
        if None in (row, reference):
            continue
        if claim.direction:
            assert np.sign(row - reference) == claim.direction, claim
        else:
            assert abs(row - reference) <= claim.band, claim


def printed(table, row, name):
    """A published number, or the mean of its published parts."""
    column = next(column for column in table.columns if column.name == name)
    found = published(table, row, name)
    if found is None and column.average_of:
        parts = [printed(table, row, part) for part in column.average_of]
        found = None if None in parts else np.mean(parts)
    return found


@pytest.mark.parametrize("paper, name", TABLES)
def test_averages_are_those_that_the_paper_prints(paper, name):
    """Of the printed parts, to the rounding of both: so SQuAD's two numbers weigh half each, MNLI's sets as one task."""
    table, checked = table_of(paper, name), 0
    for column in table.columns:
        for row in table.rows if column.average_of and not column.difference else ():
            parts = [printed(table, row.name, part) for part in column.average_of]
            whole = published(table, row.name, column.name)
            if None not in (*parts, whole):
                # Two cells of ALBERT's print another number for the same model; their average is a tenth off.
                assert abs(np.mean(parts) - whole) <= 0.16, (row.name, column.name)
                checked += 1
    if (paper, name) in (("albert", "table3"), ("albert", "table5"), ("tinybert", "table2")):
        assert checked


def measured(stage):
    """What a stage's result.json has, as far as its config says."""
    config = stage.config
    if stage.kind == "evaluate":
        found = set()
        for entry in config.tasks:
            task, _, name = entry.partition(":")
            prompt = tasks.PROMPTED[task].prompts[name]
            for shots in (0,) if prompt.kind == "perplexity" else config.shots:
                for metric in prompt.metrics:
                    unit = f"{metric}_per_{prompt.unit}" if prompt.unit and metric in ("perplexity", "bits") else metric
                    found.add(f"{entry}/{shots}/{unit}")
        return found | {f"average:{config.average}/{shots}/average" for shots in config.shots if config.average}
    found = {"parameters", *(f"{loss}_{what}" for loss in trained(config) for what in ("loss", "accuracy"))}
    if config.data.examples == "questions":
        found |= {f"{task}_{tasks.ASKED[task].question.metric}" for task in config.questions.tasks}
        found |= {"score", *(["decascore"] if {*config.questions.tasks} >= {*tasks.TEN} else [])}
    if config.data.examples == "task":
        row = tasks.TASKS[config.task.name]
        found |= {*row.score, *row.also, "score", "heldout_mismatched/accuracy", "test/ner_f1", "best_exact"}
    return found


@pytest.mark.parametrize("paper, name, scale", ALL)
def test_columns_read_what_their_stages_measure(paper, name, scale):
    table = table_of(paper, name, scale)
    for column in table.columns:
        if column.average_of or re.fullmatch("(nsp|sop)/pair_(accuracy|chance)", column.metric):
            continue  # pairs are asked by the rows' own evaluations: tests/system/test_systems.py
        assert column.metric in measured(table.stages[column.stage]), column


@pytest.mark.parametrize("paper, name", TABLES)
def test_rows_are_the_papers_at_every_scale(paper, name):
    """Smaller scales leave rows out, and none has another name."""
    rows = {row.name for row in table_of(paper, name).rows}
    for scale in ablations.SCALES[1:]:
        table = table_of(paper, name, scale)
        assert {row.name for row in table.rows} <= rows
        assert table.hypothesis or len(table.rows) == 1


def test_an_unknown_table_or_scale_is_refused():
    with pytest.raises(UserError, match="unknown table 'tabel5'; did you mean 'table5'"):
        MODULES["albert"].get_sweep("tabel5")
    with pytest.raises(UserError, match="unknown scale 'mnii'; did you mean 'mini'"):
        MODULES["albert"].get_sweep("table5,mnii")
    with pytest.raises(UserError, match="unknown table of published.csv"):
        ablations.published("albert-table99")


def test_published_numbers_are_read_as_printed():
    cells = ablations.published("albert-table3-embedding")["all-shared E128"]
    assert cells["SQuAD1.1"] == {"text": "89.3/82.3", "value": 89.3, "status": "read"}
    assert cells["params paper"]["value"] == 12e6 and cells["params exact"]["status"] == "derived"
    assert ablations.published("albert-table2-overall")["BERT-base 108M"]["speedup"]["value"] == 4.7  # '4.7x'
    assert ablations.published("albert-table6-time")["ALBERT-xxlarge"]["steps"]["value"] == 125e3  # '125k'
    lines = list(csv.DictReader((Path(ablations.__file__).parent / "published.csv").open()))
    assert all(line["value"] and line["source"] and line["status"] for line in lines)
    keys = [(line["table"], line["row"], line["column"]) for line in lines]
    assert len(set(keys)) == len(keys) > 1000
