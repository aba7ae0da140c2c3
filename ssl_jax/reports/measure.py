"""What the runs of a study say: each row's value in each column, its difference to the reference row, each claim's verdict.

Intervals and tests are Student's t over seeds, see `statistics`; rows are compared seed by seed. Of eight seeds or more,
accuracies are also compared over seeds and examples together, by MultiBERTs' bootstrap (`statistics.multibootstrap`).
"""

import csv
import io
import math
import re
from typing import NamedTuple

import numpy as np

from ssl_jax import files
from ssl_jax.errors import UserError, listed
from ssl_jax.reports.study import unlike
from ssl_jax.statistics import Comparison, compare, interval, judge, multibootstrap, seeds_needed, verdicts
from ssl_jax.sweeps.tables import NUMBER, Claim

STATISTICS = {"mean": np.mean, "median": np.median}
LEAST_SEEDS = 8  # of MultiBERTs' bootstrap (Sellam et al. 2022, section 4)
MOST_SEEDS = 10_000  # that `seeds_needed` looks for


class Value(NamedTuple):
    """A measurement: its seeds (several that share a run have one value), the names of its runs, the number."""

    seeds: tuple
    runs: tuple
    value: float


class Lost(NamedTuple):
    """A seed without a value: the names of its runs, the state of the one that is not done, and why."""

    seed: int
    runs: tuple
    state: str
    reason: str


class Cell(NamedTuple):
    """A row's measurement in a column.

    Attributes:
      row, column: names.
      values: of `Value`; n is their number.
      lost: of `Lost`.
      mean: of the values; None without any.
      interval: (low, high), 95 % of the mean; None for fewer than two values.
      statistic: the paper's own of the values, see `tables.Column`; None without any.
      text, published, status: the published cell as printed, its number (None: none), and how it was obtained.
      compared: the `Comparison` with the reference row; None where there is none.
      same_runs: both rows have the very same runs here, so that there is nothing to compare.
      unpaired: seeds without a value of both rows.
      expected: the published difference; None if it is not known.
      parameters: of the run that is measured; flops, tokens: of its training and that of all runs that it starts from,
        for one seed. None: not known.
      others: whether it was measured on other data than the reference row.
    """

    row: str
    column: str
    values: tuple
    lost: tuple
    mean: float | None
    interval: tuple | None
    statistic: float | None
    text: str
    published: float | None
    status: str
    compared: Comparison | None
    same_runs: bool
    unpaired: tuple
    expected: float | None
    parameters: int | None
    flops: float | None
    tokens: float | None
    others: bool

    @property
    def n(self):
        return len(self.values)


class Verdict(NamedTuple):
    """What the runs say of a claim.

    Attributes:
      claim: a `tables.Claim`.
      compared: the `Comparison` of its rows; None where there is none.
      same_runs: both rows have the very same runs, so that there is nothing to compare.
      own_p: of the claim by itself.
      p: adjusted for all claims of the table.
      verdict: 'holds', 'contradicted' or 'not resolved'.
      expected: the published difference; None if it is not known.
      seeds_needed: how many seeds would find the published difference in 80 % of cases; None if that is not known.
      unpaired: seeds without a value of both rows.
      over_examples: (difference, (low, high), p, examples) over seeds and examples; None where that is not known.
    """

    claim: Claim
    compared: Comparison | None
    same_runs: bool
    own_p: float
    p: float
    verdict: str
    expected: float | None
    seeds_needed: int | None
    unpaired: tuple
    over_examples: tuple | None


class Measured(NamedTuple):
    """All that a report says of a study.

    Attributes:
      study: the `Study`.
      cells: (row, column) -> `Cell`.
      verdicts: of `Verdict`, in the order of the claims.
      digits: column -> decimals to print.
      notes: lines that a reader has to know.
    """

    study: object
    cells: dict
    verdicts: tuple
    digits: dict
    notes: tuple


def measure(study, allow_unequal=False):
    """Measures a `Study`.

    Args:
      study: a `Study`.
      allow_unequal: rows that were measured on different data are marked instead of refused.

    Returns:
      A `Measured`.

    Raises:
      UserError: rows were measured on different data.
    """
    runs_of = {
        (row, run.stage, seed): run for run in study.runs.values() for row in run.rows for seed in run.seeds
    }  # fmt: skip
    groups, notes = _data_groups(study, allow_unequal)
    columns = {column.name: column for column in study.columns}
    found = {
        (row.name, name): _values(study, runs_of, columns, row.name, column)
        for row in study.rows
        for name, column in columns.items()
    }
    cells = {
        (row.name, name): _cell(study, columns, column, row, *found[row.name, name], found, groups)
        for row in study.rows
        for name, column in columns.items()
    }
    judged = [_compared(found, claim.row, claim.reference, claim.column) for claim in study.claims]
    leanings = [
        judge(compared, claim.direction, claim.band) if compared else ("holds", 1.0)
        for claim, (compared, _, _) in zip(study.claims, judged, strict=True)
    ]
    made = []
    for claim, (compared, unpaired, same), (_, own), (verdict, p) in zip(
        study.claims, judged, leanings, verdicts(leanings), strict=True
    ):
        expected = _expected(study, columns[claim.column], claim.row, claim.reference)
        needed = _seeds_needed(expected, compared)
        examples = _over_examples(runs_of, columns[claim.column], claim)
        made.append(Verdict(claim, compared, same, own, p, verdict, expected, needed, unpaired, examples))
    digits = {name: _digits([cells[row.name, name] for row in study.rows], column) for name, column in columns.items()}
    return Measured(study, cells, tuple(made), digits, (*notes, *_shared(study, found), *_warnings(study)))


def _values(study, runs_of, columns, row, column):
    """The `Value`s of a row in a column, and what is `Lost`."""
    seeds = sorted({seed for name, _, seed in runs_of if name == row})
    made, lost = {}, []
    for seed in seeds:
        try:
            key, value, runs = _value(runs_of, columns, row, column, seed)
        except _LostError as error:
            lost.append(Lost(seed, *error.args))
            continue
        before = made.get(key, ((), runs, value))
        made[key] = ((*before[0], seed), *before[1:])
    return tuple(Value(*entry) for entry in made.values()), tuple(lost)


class _LostError(Exception):
    """There is no value: the runs' names, the state, the reason."""


def _value(runs_of, columns, row, column, seed):
    """(what makes it one value, the number, the names of its runs) of a row, column and seed.

    Raises:
      _LostError: there is none.
    """
    if column.average_of:
        parts = [_value(runs_of, columns, row, columns[name], seed) for name in column.average_of]
        runs = tuple(dict.fromkeys(name for _, _, names in parts for name in names))
        return tuple(key for key, _, _ in parts), float(np.mean([value for _, value, _ in parts])) * column.scale, runs
    run = runs_of.get((row, column.stage, seed))
    if run is None:
        raise _LostError((), "not planned", f"the row has no run of {column.stage}")
    names = (run.name,)
    if column.metric == "parameters":
        if not run.parameters:
            raise _LostError(names, run.state, "the number of its parameters is not known")
        return run.parameters, run.parameters * column.scale, names  # not measured: one number, however many seeds
    if run.state != "done":
        raise _LostError(names, run.state, run.status.get("reason", ""))
    value = run.result.get(column.metric)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _LostError(
            names, "no value", f"its result.json has no {column.metric}" if run.result else "no result.json"
        )
    if not math.isfinite(value):
        raise _LostError(names, "not finite", f"{column.metric} is {value}")
    return names, value * column.scale, names


def _cell(study, columns, column, row, values, lost, found, groups):
    numbers = [one.value for one in values]
    best = max if column.higher else min
    published = column.cell(row.published)
    compared, unpaired, same = None, (), False
    expected = None
    if study.reference and row.name != study.reference:
        compared, unpaired, same = _compared(found, row.name, study.reference, column.name)
        expected = _expected(study, column, row.name, study.reference)
    runs = [study.runs[name] for one in (*values, *lost) for name in one.runs]
    return Cell(
        row=row.name,
        column=column.name,
        values=values,
        lost=lost,
        mean=float(np.mean(numbers)) if numbers else None,
        interval=interval(numbers),
        statistic=float(STATISTICS.get(column.statistic, best)(numbers)) if numbers else None,
        text=published.get("text", ""),
        published=column.number(row.published),
        status=published.get("status", ""),
        compared=compared,
        same_runs=same,
        unpaired=unpaired,
        expected=expected,
        others=any(groups.get((row.name, run.stage)) for run in runs),
        **_cost(study, [one.runs for one in (*values, *lost)]),
    )


def _cost(study, of_seeds):
    """Parameters, FLOPs and tokens of a cell, the mean over its seeds; None where a run's are not known."""
    counts = {"parameters": [], "flops": [], "tokens": []}
    for names in of_seeds:
        needed = [study.runs[name] for name in study.closure(names)]
        trained = [run for run in needed if run.kind == "train"]
        if not trained or not all(run.parameters for run in trained):
            continue
        # An evaluation has the parameters of the run that it evaluates, the last one that was trained.
        last = next((run for run in needed if run.name == names[0]), trained[-1])
        counts["parameters"].append(last.parameters or trained[-1].parameters)
        counts["flops"].append(sum(run.flops for run in trained))
        counts["tokens"].append(sum(run.tokens for run in trained))
    return {name: float(np.mean(values)) if values else None for name, values in counts.items()}


def _compared(found, row, reference, column):
    """(the `Comparison` of two rows in a column, seeds without a partner, whether they have the same runs).

    A run that several seeds share is one value: where a row has one run for all seeds and the other several, there is one
    difference, of the one value and the others' mean.
    """
    sides = [{seed: one for one in found[name, column][0] for seed in one.seeds} for name in (row, reference)]
    seeds = [seed for seed in sides[0] if seed in sides[1]]
    missing = [{one.seed for one in found[name, column][1]} for name in (row, reference)]
    unpaired = tuple(sorted((sides[0].keys() ^ sides[1].keys()) | (missing[0] & missing[1])))
    if not seeds:
        return None, unpaired, False
    if all(sides[0][seed].runs == sides[1][seed].runs for seed in seeds):
        return None, unpaired, True
    groups = []  # (values of the row, values of the reference), that no value of another group is in
    for seed in seeds:
        mine, theirs = {sides[0][seed]}, {sides[1][seed]}
        for group in [group for group in groups if group[0] & mine or group[1] & theirs]:
            groups.remove(group)
            mine, theirs = mine | group[0], theirs | group[1]
        groups.append((mine, theirs))
    means = [[np.mean([one.value for one in side]) for side in group] for group in groups]
    return compare(*zip(*means, strict=True)), unpaired, False


def _expected(study, column, row, reference):
    """The published difference of two rows; None if one of the numbers is not known."""
    by_name = {one.name: one for one in study.rows}
    mine, theirs = (column.number(by_name[name].published) for name in (row, reference))
    if column.difference:  # from the reference row, whose own is none
        mine, theirs = (0.0 if name == study.reference else x for name, x in ((row, mine), (reference, theirs)))
    return None if mine is None or theirs is None else round(mine - theirs, 10)


def _over_examples(runs_of, column, claim):
    """`Verdict.over_examples`: of an accuracy, where runs of enough seeds have left their predictions beside the labels."""
    if column.metric != "accuracy" or column.average_of:
        return None
    sides = [
        {seed: run for (row, stage, seed), run in runs_of.items() if (row, stage) == (name, column.stage)}
        for name in (claim.row, claim.reference)
    ]
    seeds = [seed for seed in sides[0] if seed in sides[1] and all(side[seed].state == "done" for side in sides)]
    if any(len({side[seed].name for seed in seeds}) < max(len(seeds), LEAST_SEEDS) for side in sides):
        return None
    scores = [[right(side[seed]) for seed in seeds] for side in sides]
    if any(own is None for side in scores for own in side) or len({len(own) for side in scores for own in side}) > 1:
        return None
    difference, (low, high), p = multibootstrap(*scores)
    return difference * column.scale, (low * column.scale, high * column.scale), p, len(scores[0][0])


def right(run):
    """Whether each held-out example was answered rightly, a list, by the run's predictions; None if they do not say."""
    path = run.folder / "predictions-heldout.tsv"
    try:
        lines = list(csv.reader(io.StringIO(files.read_text(path)), "excel-tab"))
    except (UserError, csv.Error):
        return None
    if not lines or lines[0] != ["index", "prediction", "label"]:
        return None
    found = [prediction == label for _, prediction, label in lines[1:]]
    # What is not the accuracy of single examples, such as MultiRC's of questions, is left out.
    same = found and math.isclose(sum(found) / len(found), run.result.get("accuracy", -1), abs_tol=1e-6)
    return found if same else None


def _seeds_needed(expected, compared):
    if not expected or compared is None or compared.spread is None:
        return None
    return seeds_needed(expected, compared.spread, most=MOST_SEEDS)


# ---- What a reader has to know


def _data_groups(study, allow_unequal):
    """(row, stage) -> number of the data that it was measured on, 0 those of the reference row, and lines on that.

    Raises:
      UserError: there are several, and `allow_unequal` is False.
    """
    groups, notes = {}, []
    first = [row.name for row in study.rows if row.name == study.reference]
    order = [*first, *(row.name for row in study.rows if row.name not in first)]
    for stage in study.stages:
        known = []  # a run of each kind of data
        for row in order:
            for run in study.runs.values():
                if run.stage != stage or row not in run.rows or not run.data:
                    continue
                number = next((at for at, other in enumerate(known) if not unlike(run.data, other.data)), len(known))
                if number == len(known):
                    known.append(run)
                groups[row, stage] = max(number, groups.get((row, stage), 0))
        if len(known) < 2:
            continue
        marked = [row for row in order if groups.get((row, stage))]
        what = unlike(known[1].data, known[0].data)
        told = f"{stage}: {listed(marked, 6)} measured with another {what} than {known[0].rows[0]}"
        if not allow_unequal:
            raise UserError(
                f"{told} ({known[1].name} and {known[0].name}): they are not comparable; --allow_unequal reports them, marked"
            )
        notes.append(f"{told}: marked with *, not comparable")
    return groups, notes


def _shared(study, found):
    """Lines on stages whose runs several values of a row have in common."""
    told = set()
    for values, _ in found.values():
        closures = [set(study.closure(one.runs)) for one in values]
        for at, mine in enumerate(closures):
            for other in closures[:at]:
                for name in mine & other:
                    told.add((study.runs[values[0].runs[0]].stage, study.runs[name].stage))
    return [
        f"{stage}: seeds of a row share their run of {shared}; intervals leave out what another one would change"
        for stage, shared in sorted(told)
    ]


def _warnings(study):
    """Lines on finished runs that learned nothing, and on code that changed between runs."""
    lines = [
        f"{run.name} learned nothing: {run.result['learned_nothing']}; it counts"
        for run in study.runs.values()
        if run.state == "done" and run.result.get("learned_nothing")
    ]
    commits = {}
    for run in study.runs.values():
        if run.state in ("done", "excluded"):
            commits[run.commit] = commits.get(run.commit, 0) + 1
    if len(commits) > 1:
        told = ", ".join(f"{count} of {commit[:12] or 'no known commit'}" for commit, count in commits.items())
        lines.append(f"the runs are of different commits: {told}")
    return lines


def _digits(cells, column):
    """Decimals to print: one more than the paper has, or else four digits of the largest value."""
    if column.metric == "parameters" and column.scale == 1:
        return 0
    printed = [re.match(NUMBER, column.printed(cell.text)) for cell in cells if cell.published is not None]
    if any(printed):
        return 1 + max(len(number[1] or "") for number in printed if number)
    values = [abs(one.value) for cell in cells for one in cell.values]
    largest = max(values, default=0)
    return max(0, 3 - math.floor(math.log10(largest))) if largest > 1e-4 else 6
