"""The charts of a report's page as Vega-Lite specifications. Colours are CSS variables, so that the page's theme decides."""

import altair as alt

from ssl_jax.reports import text

COLOURS = 10  # --row-0 to --row-9 of page.css; further rows are dashed
DASHES = ([1, 0], [6, 3], [2, 2])
FOCUS = "focus"  # a signal: the row that the reader picked, or ''
LABELLED = 6  # points of so many rows are labelled
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)", "titleColor": "var(--muted)", "titleFontWeight": "normal", "labelFontSize": 12,
        "titleFontSize": 12, "gridColor": "var(--line)", "domain": False, "tickColor": "var(--line)",
    },
    "axisY": {"titleAnchor": "start", "titleAngle": 0, "titleAlign": "left", "titleY": -10, "titleX": 0},
    "text": {"color": "var(--ink)", "fontSize": 12},
}  # fmt: skip
SHOWN = 0.9  # share of a loss's values that is shown whole
HEIGHT = 230


class Chart:
    """A chart for the page: a title, what a screen reader says, the specification and its data, name -> list of dicts."""

    def __init__(self, title, description, layers, height, data):
        layered = layers if isinstance(layers, alt.LayerChart) else alt.layer(*layers)
        spec = layered.properties(width="container", height=height).to_dict(validate=False)
        self.spec = {**spec, "description": description}
        self.title, self.description, self.data = title, description, data


def _base(name):
    return alt.Chart(alt.Data(name=name))


def _rows(names):
    return alt.Y("row:N", sort=names, title=None, axis=alt.Axis(grid=True, ticks=False, labelColor="var(--ink)"))


def _height(names):
    return len(names) * (30 if len(names) < 12 else 20)


def _value(name, scale, format_=",f", **axis):
    """A field along the x axis."""
    return alt.X(f"{name}:Q", title=None, scale=scale, axis=alt.Axis(grid=False, tickCount=5, format=format_, **axis))


def _line(base, at, scale):
    """A dashed line at a value."""
    return base.mark_rule(strokeDash=[4, 3], color="var(--muted)").encode(x=alt.X(datum=at, scale=scale))


def _mean(base, names, x, scale, hint):
    """A mean with its interval, as two layers."""
    y, colour = _rows(names), "var(--measured)"
    base = base.transform_filter("isValid(datum.value)")
    bar = base.mark_rule(strokeWidth=4, color=colour, opacity=0.55, strokeCap="round")
    point = base.mark_point(shape="circle", size=80, color=colour, filled=True, opacity=1)
    return [
        bar.encode(y=y, x=alt.X("low:Q", scale=scale), x2="high:Q", tooltip=hint),
        point.encode(y=y, x=x, tooltip=hint),
    ]


def _published(base, names, x, hint):
    point = base.transform_filter("isValid(datum.published)").mark_point(
        shape="diamond", size=95, color="var(--published)", filled=True, opacity=1
    )
    return point.encode(y=_rows(names), x=x, tooltip=hint)


def dots(cells, column, digits, reference):
    """Each row of a column: seeds, mean with interval, the published value, and a line at the reference row's mean.

    Where the published values lie far from the measured ones, as at another scale, they have an axis of their own of the
    same units, moved so that the reference row's two values meet.
    """
    names = [cell.row for cell in cells]
    measured = [x for cell in cells for x in (*(one.value for one in cell.values), *(cell.interval or ()))]
    if not measured:
        return None
    published = [] if column.difference else [cell.published for cell in cells if cell.published is not None]
    shift = _shift(cells, measured, published, reference)
    domain = _padded([*measured, *(x - shift for x in published)])
    scale = alt.Scale(domain=domain, nice=False, zero=False)
    number = f",.{digits}f"
    hint = [
        alt.Tooltip("row:N"), alt.Tooltip("value:Q", title="mean", format=number), alt.Tooltip("interval:N", title="95 %"),
        alt.Tooltip("n:Q"),
    ]  # fmt: skip
    x = _value("value", scale)
    rows, middle = _base("cells"), next((cell.mean for cell in cells if cell.row == reference), None)
    seeds = _base("seeds").mark_point(
        shape="circle", size=34, color="var(--ink)", opacity=0.55, strokeWidth=1.2, filled=False
    )
    seeds = seeds.encode(
        y=_rows(names), x=x,
        tooltip=[alt.Tooltip("row:N"), alt.Tooltip("seed:N"), alt.Tooltip("value:Q", format=number), alt.Tooltip("run:N")],
    )  # fmt: skip
    layers = [] if middle is None else [_line(rows, middle, scale)]
    bar, point = _mean(rows, names, x, scale, hint)
    layers += [bar, seeds, point]
    if published:
        own = x
        if shift:
            moved = alt.Scale(domain=[bound + shift for bound in domain], nice=False, zero=False)
            own = _value("published", moved, orient="top", labelColor="var(--published)", titleColor="var(--published)")
            own.title = "published, an axis of its own"
        else:
            own = _value("published", scale)
        diamonds = _published(rows, names, own, [alt.Tooltip("row:N"), alt.Tooltip("text:N", title="published")])
        layers = alt.layer(alt.layer(*layers), diamonds) if shift else alt.layer(*layers, diamonds)
        layers = layers.resolve_scale(x="independent") if shift else layers
    told = "; ".join(
        f"{cell.row}: {text.plain(cell.mean, digits)}"
        + (f" ({text.ranged(cell.interval, digits)})" if cell.interval else "")
        + (f", published {cell.text}" if cell.text else "")
        for cell in cells
        if cell.mean is not None
    )
    printed = [{"published": None if column.difference else cell.published, "text": cell.text} for cell in cells]
    return Chart(
        "Measured and published" if published else "Measured",
        f"{column.name} by row. {told}",
        layers,
        _height(names),
        {
            "cells": [{**_entry(cell, digits), **own} for cell, own in zip(cells, printed, strict=True)],
            "seeds": [
                {"row": cell.row, "seed": ", ".join(map(str, one.seeds)), "value": one.value, "run": " ".join(one.runs)}
                for cell in cells
                for one in cell.values
            ],
        },
    )


def _entry(cell, digits):
    low, high = cell.interval or (None, None)
    interval = text.ranged(cell.interval, digits) or "one value"
    return {"row": cell.row, "value": cell.mean, "low": low, "high": high, "n": cell.n, "interval": interval}


def _padded(values):
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return [low - pad, high + pad]


def _shift(cells, measured, published, reference):
    """By how much the published values' axis is moved; 0 for one axis."""
    gaps = {
        cell.row: cell.published - cell.mean for cell in cells if cell.published is not None and cell.mean is not None
    }
    everything = [*measured, *published]
    if not gaps or not published or max(everything) - min(everything) <= 2.5 * (max(measured) - min(measured)):
        return 0.0
    return gaps.get(reference, sum(gaps.values()) / len(gaps))


def differences(cells, column, digits, reference):
    """Each row's difference to the reference row with its interval, beside the published difference."""
    cells = [cell for cell in cells if cell.compared is not None]
    if not cells:
        return None
    names = [cell.row for cell in cells]
    found = [
        {
            "row": cell.row, "value": cell.compared.difference, "low": cell.compared.low, "high": cell.compared.high,
            "pairs": cell.compared.pairs, "published": cell.expected,
            "interval": text.ranged((cell.compared.low, cell.compared.high), digits, text.signed)
            if cell.compared.spread is not None else "one pair",
        }
        for cell in cells
    ]  # fmt: skip
    values = [x for one in found for x in (one["value"], one["low"], one["high"], one["published"], 0) if x is not None]
    scale = alt.Scale(domain=_padded(values), nice=False, zero=False)
    hint = [
        alt.Tooltip("row:N"), alt.Tooltip("value:Q", title="difference", format=f"+,.{digits}f"),
        alt.Tooltip("interval:N", title="95 %"), alt.Tooltip("pairs:Q"), alt.Tooltip("published:Q", format="+"),
    ]  # fmt: skip
    base = _base("differences")
    layers = [
        _line(base, 0, scale),
        *_mean(base, names, _value("value", scale, "+,f"), scale, hint),
        _published(base, names, _value("published", scale, "+,f"), hint),
    ]
    told = "; ".join(
        f"{one['row']}: {text.signed(one['value'], digits)} ({one['interval']})"
        + (f", published {one['published']:+g}" if one["published"] is not None else "")
        for one in found
    )
    title = f"Difference to {reference}"
    return Chart(
        title, f"{column.name}, difference to {reference}. {told}", layers, _height(names), {"differences": found}
    )


def colour(names):
    return alt.Color(
        "row:N",
        legend=None,
        scale=alt.Scale(domain=names, range=[f"var(--row-{at % COLOURS})" for at in range(len(names))]),
    )


def dash(names):
    dashes = [DASHES[(at // COLOURS) % len(DASHES)] for at in range(len(names))]
    return alt.StrokeDash("row:N", legend=None, scale=alt.Scale(domain=names, range=dashes))


def _focused(full, faded=0.06):
    return alt.condition(f"{FOCUS} == '' || {FOCUS} == datum.row", alt.value(full), alt.value(faded))


def against(cells, column, digits, names, count, title):
    """The mean of each row against what it cost: `count` is 'flops' or 'parameters'."""
    known = [cell for cell in cells if cell.mean is not None and getattr(cell, count)]
    found = [{**_entry(cell, digits), "x": getattr(cell, count)} for cell in known]
    ratio = max((one["x"] for one in found), default=1) / min((one["x"] for one in found), default=1)
    if ratio < 1.05 or column.metric == "parameters":  # rows of one size, or of one budget, say nothing here
        return None
    kind = "s" if count == "parameters" else "e"
    values = [x for one in found for x in (one["value"], one["low"], one["high"]) if x is not None]
    scale = alt.Scale(domain=_padded(values), zero=False, nice=False)
    x = alt.X(
        "x:Q",
        title=title,
        scale=alt.Scale(type="log", nice=False, padding=24)
        if ratio > 4
        else alt.Scale(zero=False, nice=False, padding=24),
        axis=alt.Axis(format=f".{3 if ratio < 2 else 2}~{kind}", tickCount=4, labelOverlap=True, grid=False),
    )
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    hint = [
        alt.Tooltip("row:N"), alt.Tooltip("x:Q", title=title, format=f".4~{kind}"),
        alt.Tooltip("value:Q", title="mean", format=f",.{digits}f"), alt.Tooltip("interval:N", title="95 %"),
    ]  # fmt: skip
    base, own = _base("means"), colour(names)
    bar, point = base.mark_rule(strokeWidth=3, strokeCap="round"), base.mark_point(filled=True, size=90, shape="circle")
    layers = [
        bar.encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=own, opacity=_focused(0.5), tooltip=hint),
        point.encode(x=x, y=y, color=own, opacity=_focused(1), tooltip=hint),
    ]
    if len(found) <= LABELLED:
        label = base.mark_text(dx=9, align="left", limit=140)
        layers.append(label.encode(x=x, y=y, text="row:N", opacity=_focused(1)))
    told = "; ".join(f"{one['row']}: {text.counted(one['x'])}, {text.plain(one['value'], digits)}" for one in found)
    layers = alt.layer(*layers).add_params(alt.param(name=FOCUS, value=""))
    return Chart(f"Against {title}", f"{column.name} against {title}. {told}", layers, HEIGHT, {"means": found})


def training(curve, names):
    """A metric against the step: the mean of each row's seeds, and the seeds thinner."""
    split = {"train": "training", "heldout": "held-out"}.get(curve.split, curve.split)
    title = f"{curve.metric}, {split}"
    means = [{"row": row, "step": step, "value": value} for row, line in curve.means for step, value in line]
    seeds = [
        {"row": row, "run": run, "step": step, "value": value} for row, run, line in curve.seeds for step, value in line
    ]
    values = sorted(one["value"] for one in seeds or means)
    if not values:
        return None
    high = values[-1]
    if curve.metric.endswith("loss"):  # its start would flatten the rest
        high = min(high, values[int(SHOWN * (len(values) - 1))] + 0.5 * (values[len(values) // 2] - values[0]))
    scale = alt.Scale(domain=_padded([values[0], high]), zero=False, nice=False)
    x = alt.X(
        "step:Q",
        title="step",
        scale=alt.Scale(nice=False),
        axis=alt.Axis(tickCount=5, tickMinStep=1, format=",d", grid=False),
    )
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    hint = [alt.Tooltip("row:N"), alt.Tooltip("step:Q", format=","), alt.Tooltip("value:Q", format=".4g")]
    own = colour(names)
    thin, thick = (
        _base(name).mark_line(strokeWidth=width, clip=True) for name, width in (("seeds", 1), ("means", 2.2))
    )
    layers = alt.layer(
        thin.encode(
            x=x, y=y, detail="run:N", color=own, opacity=_focused(0.35, 0.03), tooltip=[alt.Tooltip("run:N"), *hint]
        ),
        thick.encode(x=x, y=y, color=own, strokeDash=dash(names), opacity=_focused(1), tooltip=hint),
    )
    layers = layers.add_params(alt.param(name=FOCUS, value=""))
    last = "; ".join(f"{row}: {line[-1][1]:.4g} at step {line[-1][0]:,}" for row, line in curve.means if line)
    described = f"{curve.stage}: {title}, against the step. {last}"
    return Chart(title, described, layers, HEIGHT, {"seeds": seeds, "means": means})
