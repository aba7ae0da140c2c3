"""A report as one HTML file that asks for nothing: charts, style and code are inside, and its policy forbids everything else."""

import base64
import datetime
import functools
import hashlib
import json
import math
from pathlib import Path

from ssl_jax import files
from ssl_jax.errors import UserError
from ssl_jax.reports import text
from ssl_jax.reports.curves import curves

HERE = Path(__file__).parent
BADGES = {"holds": "holds", "contradicted": "contradicted", "not resolved": "open"}  # verdict -> class of page.css


def write(measured, folder):
    """Writes report.html of a `Measured` into a folder.

    Raises:
      UserError: Altair or vl-convert is missing.
    """
    try:
        import altair.utils.schemapi
        import jinja2
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"report.html needs {error.name}: pip install 'ssl_jax[report]'; report.md and the .csv files are in {folder}"
        ) from error
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    style, script = (HERE / "page.css").read_text(), _script()
    figures = _Figures()
    with altair.utils.schemapi.debug_mode(False):  # checking every part of our own charts takes most of the time
        content = _content(measured, figures)
    page = environment.get_template("page.html").render(
        **content,
        style=style,
        script=script,
        specs=_embedded(figures.made),
        style_hash=_hash(style),
        script_hash=_hash(script),
        written=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    with files.replacing(Path(folder) / "report.html") as file:
        file.write(page.encode())


@functools.cache
def _script():
    """Vega, Vega-Lite, vega-embed and page.js as one script."""
    import altair
    import vl_convert

    snippet, version = (HERE / "page.js").read_text(), ".".join(altair.SCHEMA_VERSION.split(".")[:2])
    return vl_convert.javascript_bundle(snippet, vl_version=version).replace("</script", "<\\/script")


def _hash(content):
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _embedded(value):
    """JSON to be put inside a <script> element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


class _Figures:
    """The charts of a page, in order; `made` is what page.js draws."""

    def __init__(self):
        from ssl_jax.reports import charts

        self.made = [charts.CONFIG]

    def add(self, chart):
        """The chart's place in the page: its id, title and description; None for none."""
        if chart is None:
            return None
        data = {name: _columns(rows) for name, rows in chart.data.items()}
        self.made.append({"spec": chart.spec, "data": data})
        return {"id": f"chart-{len(self.made) - 1}", "title": chart.title, "description": chart.description}


def _columns(rows):
    """Rows by column: key -> its values, numbers of six digits, or of words the different ones and which of them."""
    made = {}
    for key in rows[0] if rows else ():
        values = [_short(row[key]) for row in rows]
        if all(isinstance(value, str) for value in values):
            words = {word: at for at, word in enumerate(dict.fromkeys(values))}
            made[key] = {"words": list(words), "at": [words[value] for value in values]}
        else:
            made[key] = values
    return made


def _short(value):
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value


def _content(measured, figures):
    """What the template shows."""
    from ssl_jax.reports import charts

    study = measured.study
    names = [row.name for row in study.rows]
    sections = []
    for number, (column, heads, rows) in enumerate(text.tables(measured)):
        cells = [measured.cells[name, column.name] for name in names]
        digits = measured.digits[column.name]
        made = [
            charts.dots(cells, column, digits, study.reference),
            charts.differences(cells, column, digits, study.reference),
            charts.against(cells, column, digits, names, "flops", "training FLOPs"),
            charts.against(cells, column, digits, names, "parameters", "parameters"),
        ]
        sections.append(
            {
                "id": f"column-{number}",
                "name": column.name,
                "heading": text.heading(column),
                "charts": [figures.add(chart) for chart in made if chart],
                "heads": heads,
                "rows": rows,
            }
        )
    stages = {}
    for curve in curves(study):
        chart = charts.training(curve, names)
        if chart:
            stages.setdefault(curve.stage, []).append(figures.add(chart))
    return {
        "study": study,
        "states": text.states(study),
        "bar": _bar([run.state for run in study.runs.values()]),
        "summary": _summary(measured),
        "verdicts": [_verdict(one, measured.digits[one.claim.column]) for one in measured.verdicts],
        "overview": _overview(measured),
        "costs": text.costs(measured),
        "sections": sections,
        "stages": stages,
        "legend": [(name, at % charts.COLOURS) for at, name in enumerate(names)],
        "problems": list(text.problems(study)),
        "notes": measured.notes,
        "provenance": list(text.provenance(study)),
    }


def _bar(states):
    """(state, where it begins, its share) of each state, in percent, those that are done first."""
    made, first = [], 0.0
    for state in sorted(dict.fromkeys(states), key=lambda state: state != "done"):
        share = 100 * states.count(state) / len(states)
        made.append((state, round(first, 3), round(share, 3)))
        first += share
    return made


def _summary(measured):
    """'2 of 5 claims hold, 1 is contradicted, 2 are not resolved.'"""
    found = [one.verdict for one in measured.verdicts]
    if not found:
        return ""
    counts = {verdict: found.count(verdict) for verdict in BADGES}
    are = lambda count: f"{count} {'is' if count == 1 else 'are'}"
    return (
        f"{counts['holds']} of {len(found)} claims {'holds' if counts['holds'] == 1 else 'hold'}, "
        f"{are(counts['contradicted'])} contradicted, {are(counts['not resolved'])} not resolved."
    )


def _verdict(one, digits):
    """A claim's card: its badge, text and facts."""
    claim, compared = one.claim, one.compared
    facts = []
    if compared is not None:
        facts.append((f"{claim.row} − {claim.reference}", text.signed(compared.difference, digits)))
        if compared.spread is not None:
            facts.append(("95 %", text.ranged((compared.low, compared.high), digits, text.signed)))
    if one.expected is not None:
        facts.append(("published", text.signed(one.expected, max(0, digits - 1))))
    if claim.direction == 0:
        facts.append(("the same within", text.plain(claim.band, digits)))
    if compared is not None:
        facts.append(("pairs of seeds", str(compared.pairs)))
        if compared.spread is not None:
            facts += [("adjusted p", text.probability(one.p)), ("detectable", text.plain(compared.detectable, digits))]
    if one.seeds_needed is not None:
        facts.append(("seeds for the published difference", text.needed(one)))
    if one.unpaired:
        facts.append(("not paired", "seed " + ", ".join(map(str, one.unpaired))))
    note = text.claim_numbers(one, digits) if compared is None else ""
    return {
        "verdict": one.verdict,
        "badge": BADGES[one.verdict],
        "text": text.claim_text(claim),
        "column": claim.column if claim.text else "",
        "facts": facts,
        "note": note,
    }


def _overview(measured):
    """Rows of cells for the table at the top: (mean, half of the interval, published)."""
    rows = []
    for row in measured.study.rows:
        cells = []
        for column in measured.study.columns:
            cell, digits = measured.cells[row.name, column.name], measured.digits[column.name]
            half = (cell.interval[1] - cell.interval[0]) / 2 if cell.interval else None
            cells.append(
                {
                    "mean": text.plain(cell.mean, digits) + "*" * cell.others,
                    "half": text.plain(half, digits),
                    "published": cell.text,
                }
            )
        rows.append((row.name, cells))
    return rows
