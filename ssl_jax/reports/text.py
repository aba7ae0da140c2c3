"""A report in words and numbers: report.md, the CSV files, and what the terminal shows."""

import datetime
import textwrap
from pathlib import Path

from ssl_jax import files
from ssl_jax.errors import cut, listed
from ssl_jax.reports.measure import MOST_SEEDS

WIDTH = 110  # of sentences in a terminal
CELL_FIELDS = (
    "row", "column", "published", "published_value", "published_status", "n", "seeds", "mean", "low", "high",
    "statistic", "statistic_value", "reference", "pairs", "difference", "difference_low", "difference_high", "difference_p",
    "published_difference", "detectable", "verdict", "parameters", "flops", "tokens", "runs", "lost", "unequal_data",
)  # fmt: skip
CLAIM_FIELDS = (
    "claim", "row", "reference", "column", "direction", "band", "verdict", "p", "p_adjusted", "pairs", "difference", "low",
    "high", "published_difference", "detectable", "seeds_needed", "unpaired",
)  # fmt: skip
SEED_FIELDS = ("row", "seed", "column", "value", "run", "state")


def write(measured, folder):
    """Writes report.md, table.csv, seeds.csv, and claims.csv of a `Measured` into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_csv(folder / "table.csv", list(cell_rows(measured)), CELL_FIELDS)
    files.write_csv(folder / "seeds.csv", list(seed_rows(measured)), SEED_FIELDS)
    files.write_csv(folder / "claims.csv", list(claim_rows(measured)), CLAIM_FIELDS)
    with files.replacing(folder / "report.md") as file:
        file.write(("\n".join(markdown(measured)) + "\n").encode())


# ---- Numbers


def plain(value, digits):
    """'82.13', '11,683,584', or '' for None."""
    return "" if value is None else f"{value:,.{digits}f}"


def signed(value, digits):
    return "" if value is None else f"{value:+,.{digits}f}"


def ranged(interval, digits, show=plain):
    """'81.62 to 82.64', or '' for None."""
    return "" if interval is None else f"{show(interval[0], digits)} to {show(interval[1], digits)}"


def counted(value):
    """A count in short: '11.7 M', '1.3e+18'; '' for None."""
    if value is None:
        return ""
    for size, unit in ((1e12, ""), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}" if unit else f"{value:.3g}"
    return f"{value:.0f}"


def probability(p):
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def changes(row):
    """'model.layers=2, losses.sop=0' of a `tables.Row`."""
    return ", ".join(
        f"{key}={','.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for key, value in row.changes.items()
    )


def several(count, what):
    return f"{count:,} {what}{'s' * (count != 1)}"


# ---- Sentences


def states(study):
    """'27 of 30 runs done, 1 failed, 2 running': a line."""
    found = [run.state for run in study.runs.values()]
    others = [f"{found.count(state)} {state}" for state in dict.fromkeys(found) if state != "done"]
    return ", ".join([f"{found.count('done')} of {several(len(found), 'run')} done", *others])


def claim_text(claim):
    """The claim in the paper's terms, or in ours."""
    relation = {1: "above", -1: "below", 0: "the same as"}[claim.direction]
    return claim.text or f"{claim.column}: {claim.row} is {relation} {claim.reference}"


def claim_numbers(one, digits):
    """What was measured of a `Verdict`, in a sentence."""
    claim, compared = one.claim, one.compared
    if compared is None and one.same_runs:
        return f"{claim.row} and {claim.reference} have the same runs in {claim.column}"
    if compared is None:
        return f"no seed has a value of both rows in {claim.column} yet"
    told = f"{claim.row} - {claim.reference}, {claim.column}: {signed(compared.difference, digits)}"
    if compared.spread is None:
        told += " with one pair of seeds, which has no interval"
    else:
        told += f" ({ranged((compared.low, compared.high), digits, signed)}), {compared.pairs} pairs"
        told += f", adjusted p {probability(one.p)}"
    if one.expected is not None:
        told += f"; published {signed(one.expected, max(0, digits - 1))}"
    if claim.direction == 0:
        told += f"; the same within {plain(claim.band, digits)}"
    if compared.detectable is not None:
        told += f"; detectable with {compared.pairs} pairs: {plain(compared.detectable, digits)}"
    if one.seeds_needed is not None:
        told += f"; seeds for the published difference: {needed(one)}"
    if one.over_examples is not None:
        difference, edges, p, count = one.over_examples
        told += f"; over seeds and {count:,} examples: {signed(difference, digits)} ({ranged(edges, digits, signed)})"
        told += f", p {probability(p)}"
    if one.unpaired:
        told += f"; not paired: seed {listed(one.unpaired)}"
    return told


def needed(one):
    """How many seeds would find a `Verdict`'s published difference: '12', 'more than 10,000', or ''."""
    if one.seeds_needed is None:
        return ""
    return f"more than {MOST_SEEDS:,}" if one.seeds_needed >= MOST_SEEDS else f"{one.seeds_needed:,}"


def problems(study):
    """(run, state, reason) of those that have no result, although they began, or were excluded."""
    for run in study.runs.values():
        if run.state not in ("done", "queued", "running"):
            tried = run.status.get("attempts", 0)
            more = f" (attempt {tried})" if tried > 1 else ""
            yield run.name, run.state + more, run.status.get("reason", "")


def provenance(study):
    """(what, text) of how the runs were made."""
    done = [run for run in study.runs.values() if run.state in ("done", "excluded")]
    if study.command:
        yield "made with", f"scripts/sweep.py --config {study.command}"
    if study.source:
        yield "published numbers", study.source
    if done:
        yield "commits", _tally(run.commit or "unknown" for run in done)
        yield "devices", _tally(_device(run) for run in done)
        yield "Python", _tally(run.about.get("python", "unknown") for run in done)
        names = dict.fromkeys(name for run in done for name in run.about.get("versions", {}))
        for name in names:
            yield name, _tally(run.about.get("versions", {}).get(name, "unknown") for run in done)
    seconds = sum(run.status.get("seconds", 0) for run in study.runs.values())
    if seconds:
        yield "time of all runs", str(datetime.timedelta(seconds=round(seconds)))
    again = sum(max(0, run.status.get("attempts", 0) - 1) for run in study.runs.values())
    if again:
        preempted = sum(run.status.get("preemptions", 0) for run in study.runs.values())
        yield "begun again", f"{again} times, after {several(preempted, 'preemption')}"


def _device(run):
    devices = run.about.get("devices")
    return " + ".join(f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices)) if devices else "unknown"


def _tally(values):
    values = list(values)
    found = {value: values.count(value) for value in values}
    return (
        ", ".join(found)
        if len(found) == 1
        else ", ".join(f"{value} ({several(n, 'run')})" for value, n in found.items())
    )


# ---- Files


def cell_rows(measured):
    """Rows of table.csv: one for each row and column."""
    study = measured.study
    for cell in measured.cells.values():
        column = next(column for column in study.columns if column.name == cell.column)
        compared = cell.compared
        found = [
            one.verdict for one in measured.verdicts if (one.claim.row, one.claim.column) == (cell.row, cell.column)
        ]
        low, high = cell.interval or (None, None)
        seeds = [seed for one in cell.values for seed in one.seeds] + [one.seed for one in cell.lost]
        yield {
            "row": cell.row, "column": cell.column, "published": cell.text, "published_value": cell.published,
            "published_status": cell.status, "n": cell.n, "seeds": len(seeds), "mean": cell.mean, "low": low, "high": high,
            "statistic": column.statistic, "statistic_value": cell.statistic,
            "reference": study.reference if compared else None, "pairs": compared and compared.pairs,
            "difference": compared and compared.difference, "difference_low": compared and compared.low,
            "difference_high": compared and compared.high, "difference_p": compared and compared.p,
            "published_difference": cell.expected, "detectable": compared and compared.detectable,
            "verdict": "; ".join(found), "parameters": cell.parameters, "flops": cell.flops, "tokens": cell.tokens,
            "runs": " ".join(dict.fromkeys(name for one in cell.values for name in one.runs)),
            "lost": "; ".join(f"seed {one.seed}: {one.state}" for one in cell.lost), "unequal_data": cell.others or None,
        }  # fmt: skip


def seed_rows(measured):
    """Rows of seeds.csv: every value, and every seed that has none."""
    for cell in measured.cells.values():
        entries = [(seed, one.value, one.runs, "done") for one in cell.values for seed in one.seeds]
        entries += [(one.seed, None, one.runs, one.state) for one in cell.lost]
        for seed, value, runs, state in sorted(entries, key=lambda entry: entry[0]):
            yield dict(zip(SEED_FIELDS, (cell.row, seed, cell.column, value, " ".join(runs), state), strict=True))


def claim_rows(measured):
    """Rows of claims.csv."""
    for one in measured.verdicts:
        claim, compared = one.claim, one.compared
        yield {
            "claim": claim_text(claim), "row": claim.row, "reference": claim.reference, "column": claim.column,
            "direction": claim.direction, "band": claim.band or None, "verdict": one.verdict, "p": one.own_p,
            "p_adjusted": one.p, "pairs": compared and compared.pairs, "difference": compared and compared.difference,
            "low": compared and compared.low, "high": compared and compared.high, "published_difference": one.expected,
            "detectable": compared and compared.detectable, "seeds_needed": one.seeds_needed,
            "unpaired": " ".join(map(str, one.unpaired)),
        }  # fmt: skip


def tables(measured):
    """Yields (column, heads, rows of text) for each column, numbers rounded."""
    study = measured.study
    for column in study.columns:
        digits = measured.digits[column.name]
        cells = [measured.cells[row.name, column.name] for row in study.rows]
        heads = ["row"]
        published, compared = any(cell.text for cell in cells), any(cell.compared or cell.same_runs for cell in cells)
        expected, statistic = any(cell.expected is not None for cell in cells), column.statistic != "mean"
        heads += ["published"] * published + ["mean", "95 %"] + [column.statistic] * statistic + ["n"]
        if compared:
            heads += [f"minus {study.reference}", "95 %"] + ["published"] * expected
        rows = []
        for cell in cells:
            row = [cell.row + "*" * cell.others]
            if published:
                row.append(cell.text + (f" ({cell.status})" if cell.text and cell.status not in ("", "read") else ""))
            row += [plain(cell.mean, digits) or "-", ranged(cell.interval, digits)]
            if statistic:
                row.append(plain(cell.statistic, digits))
            row.append(f"{cell.n}" + (f" of {cell.n + len(cell.lost)}" if cell.lost else ""))
            if compared:
                one = cell.compared
                difference = "same runs" if cell.same_runs else signed(one.difference, digits) if one else ""
                row += [
                    "reference" if cell.row == study.reference else difference,
                    ranged((one.low, one.high), digits, signed) if one and one.spread is not None else "",
                ]
                row += [signed(cell.expected, max(0, digits - 1))] * expected  # as many decimals as the paper has
            rows.append(row)
        yield column, heads, rows


def costs(measured):
    """(heads, rows of text) of what each row's runs cost: of its last column, for one seed."""
    study = measured.study
    rows = []
    for row in study.rows if study.columns else ():
        cells = [measured.cells[row.name, column.name] for column in study.columns]
        cell = max(cells, key=lambda cell: cell.flops or 0)
        counts = [cell.parameters, cell.flops, cell.tokens]
        rows.append([row.name, *map(counted, counts), changes(row)])
    heads = ["row", "parameters", "FLOPs", "tokens", "changes"]
    keep = [at for at in range(len(heads)) if at == 0 or any(row[at] for row in rows)]
    return [heads[at] for at in keep], [[row[at] for at in keep] for row in rows]


def aligned(heads, rows, indent="  "):
    """A table as lines of text: the first column to the left, the others to the right."""
    rows = [[cut(row[0], 48), *row[1:]] for row in rows]
    widths = [max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads))]
    for row in [heads, *rows]:
        first, *others = (f"{text:<{w}}" if not at else f"{text:>{w}}" for at, (text, w) in enumerate(zip(row, widths)))
        yield (indent + "  ".join([first, *others])).rstrip()


def terminal(measured):
    """Lines for a terminal."""
    study = measured.study
    yield study.title
    yield states(study) + ("" if study.finished else "; so far:")
    for one in measured.verdicts:
        yield ""
        yield f"{one.verdict.upper()}: {claim_text(one.claim)}"
        numbers = claim_numbers(one, measured.digits[one.claim.column])
        yield from textwrap.wrap(numbers, WIDTH, initial_indent="  ", subsequent_indent="  ")
    for column, heads, rows in tables(measured):
        yield ""
        yield heading(column)
        yield from aligned(heads, rows)
    heads, rows = costs(measured)
    if "FLOPs" in heads:
        numbers = slice(0, len(heads) - ("changes" in heads))
        yield from ("", "cost of one seed", *aligned(heads[numbers], [row[numbers] for row in rows]))
    named = [row for row in study.rows if not study.command and row.changes and changes(row) != row.name]
    if named:
        yield from ("", "what differs", *(f"  {row.name}: {changes(row)}" for row in named))
    failed = list(problems(study))
    if failed or measured.notes:
        yield ""
        yield from (": ".join(filter(None, one)) for one in failed)
        yield from measured.notes


def heading(column):
    """'MNLI (mean of a, b)' or 'MNLI (mnli: accuracy, x 100)': what a column measures."""
    if column.average_of:
        return f"{column.name} (mean of {', '.join(column.average_of)})"
    where = column.metric if column.stage in ("", "run") else f"{column.stage}: {column.metric}"
    scale = "" if column.scale == 1 else f" x {column.scale:g}"
    return column.name if column.name == where + scale else f"{column.name} ({where}{scale})"


def markdown(measured):
    """Lines of report.md."""
    study = measured.study
    yield f"# {study.title}"
    yield ""
    yield states(study) + ("." if study.finished else "; everything below is so far.")
    if study.hypothesis:
        yield ""
        yield f"**Hypothesis.** {study.hypothesis}"
    if measured.verdicts:
        yield from ("", "## Claims", "", f"p is adjusted for {several(len(measured.verdicts), 'claim')} (Holm).", "")
        for one in measured.verdicts:
            numbers = claim_numbers(one, measured.digits[one.claim.column])
            yield f"* **{one.verdict}**: {claim_text(one.claim)}. {numbers}."
    for column, heads, rows in tables(measured):
        yield from ("", f"## {heading(column)}", "", *_markdown_table(heads, rows))
    heads, rows = costs(measured)
    if len(heads) > 1:
        yield from ("", "## Rows", "", *_markdown_table(heads, rows))
    failed = list(problems(study))
    if failed:
        yield from ("", "## Runs without a result, and excluded ones", "")
        yield from _markdown_table(["run", "state", "why"], failed)
    if measured.notes:
        yield from ("", "## Notes", "", *(f"* {line}" for line in measured.notes))
    made = list(provenance(study))
    if made:
        yield from ("", "## Provenance", "", "| | |", "|---|---|")
        yield from (f"| {what} | {_escaped(text)} |" for what, text in made)


def _markdown_table(heads, rows):
    yield "| " + " | ".join(map(_escaped, heads)) + " |"
    yield "|---|" + "---:|" * (len(heads) - 1)
    for row in rows:
        yield "| " + " | ".join(map(_escaped, row)) + " |"


def _escaped(text):
    return text.replace("|", "\\|").replace("\n", " ")
