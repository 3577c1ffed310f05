"""The report's charts. Those that depend on n share one parameter, `chosen_n`, which the page's
slider sets.
"""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

Chart = Any  # altair's chart classes have no common public base

_HEIGHT = 280
_BESIDE = 0.008  # of an axis from 0 to 1, between temperatures at one soft ratio
_ACCENT, _BLUE = "#c2410c", "#2563eb"


def error_by_soft_ratio(
    frame: pd.DataFrame, what: str, recommended: dict[str, Any], n: int
) -> Chart:
    """Error against soft ratio, a line per temperature, at the chosen n."""
    scale = alt.Scale(zero=False)
    order = frame["temperature"].rank(method="dense")
    beside = frame["soft_ratio"] + _BESIDE * (order - order.mean())  # bars would hide each other
    base = _at_chosen_n(frame.assign(beside=beside), n).encode(
        x=alt.X("beside:Q", title="soft ratio ρ", scale=alt.Scale(domain=[0, 1.02], nice=False)),
        color=alt.Color("temperature:O", title="temperature T", scale=alt.Scale(scheme="viridis")),
    )
    tooltip = [
        alt.Tooltip("soft_ratio:Q", title="soft ratio"),
        alt.Tooltip("temperature:O", title="temperature"),
        alt.Tooltip("n:Q", title="samples"),
        alt.Tooltip("shown:Q", title=what, format=".2%"),
        alt.Tooltip("low:Q", title="95 % from", format=".2%"),
        alt.Tooltip("high:Q", title="to", format=".2%"),
    ]
    y = alt.Y("shown:Q", title=what, axis=alt.Axis(format="%"), scale=scale)
    bars = base.mark_rule(opacity=0.35).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    line = base.mark_line().encode(y=y)
    point = base.mark_point(filled=True, size=55).encode(y=y, tooltip=tooltip)
    chosen = {k: recommended[k] for k in ("soft_ratio", "temperature")}
    ring = (
        base.mark_point(size=260, strokeWidth=2.5)
        .encode(y=y, color=alt.value(_ACCENT))
        .transform_filter(
            f"datum.soft_ratio == {chosen['soft_ratio']!r} && datum.temperature =="
            f" {chosen['temperature']!r}"
        )
    )
    return _finish(bars + line + point + ring)


def predicted_against_real(frame: pd.DataFrame) -> Chart:
    """Each setting's real error against the predicted one, with the line where they are equal."""
    low = float(frame[["predicted_low", "real_low"]].min().min())
    high = float(frame[["predicted_high", "real_high"]].max().max())
    scale = alt.Scale(domain=[low, high], nice=False)
    x = alt.X("predicted:Q", title="predicted error", axis=alt.Axis(format="%"), scale=scale)
    y = alt.Y("real:Q", title="error of real students", axis=alt.Axis(format="%"), scale=scale)
    base = alt.Chart(frame)
    equal = alt.Chart(pd.DataFrame({"predicted": [low, high], "real": [low, high]})).mark_line(
        strokeDash=[4, 4], color="#94a3b8"
    )
    across = base.mark_rule(opacity=0.35).encode(
        x=alt.X("predicted_low:Q", scale=scale), x2="predicted_high:Q", y=y
    )
    upright = base.mark_rule(opacity=0.35).encode(
        x=x, y=alt.Y("real_low:Q", scale=scale), y2="real_high:Q"
    )
    is_recommended = "indexof(datum.role, 'recommended') >= 0"
    point = base.mark_point(filled=True, size=70).encode(
        x=x,
        y=y,
        color=alt.condition(is_recommended, alt.value(_ACCENT), alt.value(_BLUE)),
        tooltip=[
            alt.Tooltip("setting:N"),
            alt.Tooltip("role:N"),
            alt.Tooltip("predicted:Q", format=".2%"),
            alt.Tooltip("real:Q", format=".2%"),
        ],
    )
    return _finish(equal.encode(x=x, y=y) + across + upright + point)


def errors_of_plans(frame: pd.DataFrame) -> Chart:
    """The error that each plan predicts, with its interval."""
    base = alt.Chart(frame).encode(
        y=alt.Y("plan:N", title=None, sort=None, axis=alt.Axis(labelLimit=260))
    )
    x = alt.X("value:Q", title="predicted error", axis=alt.Axis(format="%"))
    low = alt.X("low:Q", title="predicted error", axis=alt.Axis(format="%"))
    bars = base.mark_rule(strokeWidth=2, color=_BLUE).encode(x=low, x2="high:Q")
    point = base.mark_point(filled=True, size=90, color=_BLUE).encode(
        x=x,
        tooltip=[
            alt.Tooltip("plan:N"),
            alt.Tooltip("value:Q", title="predicted error", format=".2%"),
            alt.Tooltip("low:Q", title="95 % from", format=".2%"),
            alt.Tooltip("high:Q", title="to", format=".2%"),
        ],
    )
    return _finish(bars + point).properties(height=34 * len(frame))


def errors_by_size(frame: pd.DataFrame) -> Chart:
    """The error that each plan predicts, by the size of its student."""
    known = frame[frame["parameters"].notna()]
    x = alt.X(
        "parameters:Q", title="parameters", scale=alt.Scale(type="log", nice=False, padding=110)
    )
    base = alt.Chart(known).encode(x=x)
    title = "predicted error"
    low = alt.Y("low:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(zero=False))
    bars = base.mark_rule(strokeWidth=2, color=_BLUE).encode(y=low, y2="high:Q")
    point = base.mark_point(filled=True, color=_BLUE, opacity=1).encode(
        y=alt.Y("value:Q", title=title),
        size=alt.Size("operations:Q", scale=alt.Scale(type="log", range=[60, 500]), legend=None),
        tooltip=[
            alt.Tooltip("plan:N"),
            alt.Tooltip("value:Q", title="predicted error", format=".2%"),
            alt.Tooltip("parameters:Q", format=",d"),
            alt.Tooltip("operations:Q", title="operations for one input", format=".3s"),
        ],
    )
    name = base.mark_text(align="left", dx=14, dy=-8, color=_BLUE).encode(
        y="value:Q", text="plan:N"
    )
    return _finish(bars + point + name)


def error_by_cost(frame: pd.DataFrame) -> Chart:
    """Predicted error by what the samples cost, a line for each plan's teacher."""
    base = alt.Chart(frame).encode(
        x=alt.X("spend:Q", title="spent on labels", scale=alt.Scale(type="log", nice=False)),
        color=alt.Color("plan:N", title=None, sort=None, legend=alt.Legend(columns=1)),
    )
    y = alt.Y("value:Q", title="predicted error", axis=alt.Axis(format="%"))
    band = base.mark_area(opacity=0.12).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(strokeWidth=2.5).encode(y=y)
    ends = base.mark_point(filled=True, size=40).encode(
        y=y,
        tooltip=[
            alt.Tooltip("plan:N"),
            alt.Tooltip("spend:Q", title="spent", format=",.4~g"),
            alt.Tooltip("n:Q", title="samples", format=",d"),
            alt.Tooltip("value:Q", title="predicted error", format=".2%"),
        ],
    )
    return _finish(band + line + ends)


def risks_over_n(frame: pd.DataFrame, n: int) -> Chart:
    """Several kinds of error and risk of the recommended setting against n."""
    names = list(dict.fromkeys(frame["quantity"]))
    colors = ["#7788a0", "#2563eb", "#16a34a", "#7c3aed", "#d97706", "#dc2626"]
    base = alt.Chart(frame).encode(
        x=_samples_axis(frame),
        color=alt.Color(
            "quantity:N",
            title=None,
            sort=names,
            scale=alt.Scale(domain=names, range=colors[: len(names)]),
            legend=alt.Legend(columns=1),
        ),
    )
    y = alt.Y("value:Q", title="share of held-out samples", axis=alt.Axis(format="%"))
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(point=True).encode(
        y=y,
        tooltip=[
            alt.Tooltip("quantity:N", title=" "),
            alt.Tooltip("n:Q", title="samples"),
            alt.Tooltip("value:Q", title="share", format=".2%"),
        ],
    )
    return _finish(_marker(n) + band + line)


def inefficiency_over_n(frame: pd.DataFrame, along: str, title: str, n: int) -> Chart:
    """Data inefficiency against n, a line per soft ratio or per epoch."""
    base = alt.Chart(frame).encode(
        x=_samples_axis(frame),
        color=alt.Color(f"{along}:O", title=title, scale=alt.Scale(scheme="plasma")),
    )
    band = base.mark_area(opacity=0.12).encode(y="low:Q", y2="high:Q")
    line = base.mark_line(point=True).encode(
        y=alt.Y("value:Q", title="data inefficiency I(n)"),
        tooltip=[
            alt.Tooltip(f"{along}:O", title=title),
            alt.Tooltip("n:Q", title="samples"),
            alt.Tooltip("value:Q", title="I(n)", format=".3f"),
        ],
    )
    return _finish(_marker(n) + band + line)


def correction_angles(frame: pd.DataFrame, temperature: float, n: int) -> Chart:
    """Cosines with the labels' direction against soft ratio, at the chosen n or, where that is more
    than theory looked at, the largest n that it did.
    """
    names = {
        "cos_teacher_reference": "teacher",
        "cos_effective_reference": "student (teacher corrected by labels)",
        "cos_correction_reference": "correction alone",
    }
    here = frame[frame["temperature"] == temperature].sort_values("n")
    known = here.groupby("soft_ratio")[list(names)].ffill()
    here = here.assign(**{name: known[name] for name in names})
    # At a soft ratio of 1 nothing is corrected, and so the correction has no direction.
    melted = here.melt(["soft_ratio", "n"], list(names), "quantity", "value").replace(
        {"quantity": names}
    )
    melted = melted[(melted["quantity"] != "correction alone") | (melted["soft_ratio"] < 1)]
    line = (
        _at_chosen_n(melted, n)
        .mark_line(point=True)
        .encode(
            x=alt.X("soft_ratio:Q", title="soft ratio ρ", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y(
                "value:Q", title="cosine with the labels' direction", scale=alt.Scale(zero=False)
            ),
            color=alt.Color("quantity:N", title=None, legend=alt.Legend(columns=1)),
            tooltip=[
                alt.Tooltip("quantity:N", title=" "),
                alt.Tooltip("soft_ratio:Q", title="soft ratio"),
                alt.Tooltip("value:Q", title="cosine", format=".3f"),
            ],
        )
    )
    return _finish(line)


def flip_ratio_histogram(flips: np.ndarray, soft_ratio: float) -> Chart:
    """How firmly the teacher errs: flip ratios of its errors, and the recommended soft ratio."""
    counts, edges = np.histogram(flips, bins=20, range=(0, 1))
    frame = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
    bars = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X(
                "low:Q", title="flip ratio of the teacher's errors", scale=alt.Scale(domain=[0, 1])
            ),
            x2="high:Q",
            y=alt.Y("count:Q", title="samples"),
            y2=alt.datum(0),
            tooltip=["low:Q", "high:Q", alt.Tooltip("count:Q", title="samples")],
        )
    )
    rule = (
        alt.Chart(pd.DataFrame({"rho": [soft_ratio]}))
        .mark_rule(color=_ACCENT, strokeWidth=2)
        .encode(x="rho:Q", tooltip=alt.Tooltip("rho:Q", title="recommended soft ratio"))
    )
    return _finish(bars + rule)


def _at_chosen_n(frame: pd.DataFrame, n: int) -> Chart:
    return alt.Chart(frame).add_params(_chosen(n)).transform_filter("datum.n == chosen_n")


def _marker(n: int) -> Chart:
    """A line at the chosen n; it goes below the points, which would not feel the mouse through
    it.
    """
    base = alt.Chart(pd.DataFrame({"unit": [0]})).transform_calculate(at="chosen_n")
    return (
        base.mark_rule(color=_ACCENT, strokeDash=[4, 3])
        .encode(x=alt.X("at:Q", title="training samples n"))
        .add_params(_chosen(n))
    )


def _chosen(n: int) -> Any:
    return alt.param(name="chosen_n", value=n)


def _samples_axis(frame: pd.DataFrame) -> Any:
    domain = [float(frame["n"].min()), float(frame["n"].max())]
    return alt.X(
        "n:Q", title="training samples n", scale=alt.Scale(type="log", domain=domain, nice=False)
    )


def _finish(chart: Chart) -> Chart:
    return (
        chart.properties(width="container", height=_HEIGHT)
        .configure(font="system-ui, sans-serif", background="transparent")
        .configure_view(stroke=None)
        .configure_legend(orient="bottom", columns=4, labelLimit=280, symbolOpacity=1)
        .configure_axis(labelOverlap="greedy", labelSeparation=4)
    )
