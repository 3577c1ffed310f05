"""The decision as a short table for the terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tutelage.report.verified import conclusion
from tutelage.report.words import surely_wrong, wanted

_ROWS = 6
_COLUMNS = {
    "error": "error",
    "error_se": "± s.e.",
    "transfer_risk": "≠ teacher",
    "expected_transfer_risk": "expected risk",
    "data_inefficiency": "data inefficiency",
}


def summary(document: dict[str, Any]) -> RenderableType:
    """Give the decision and the best few settings, ready to print.

    Parameters
    ----------
    document : dict
        plan.json.
    """
    best, epoch = document["recommended"], document["teacher"]["recommended_epoch"]
    where = f"soft ratio {best['soft_ratio']:g}, temperature {best['temperature']:g}"
    where += "" if epoch is None else f", teacher of epoch {epoch}"
    parts: list[RenderableType] = [
        Text.assemble((f"[{best['verdict']}] ", "bold magenta"), (where, "bold")),
        Text(best["why"]),
        _settings(document),
    ]
    parts += [Text(line) for line in _cost_lines(document["cost"])]
    parts += [Text(line) for line in _sample_lines(document["samples"])]
    if document["teacher"]["suspect_labels"]:
        parts.append(Text(_suspects(document["teacher"])))
    if document["teacher"]["label_next"]:
        parts.append(Text("label_next.csv says which samples to label next."))
    parts += [Text(f"note: {sentence}", style="dim") for sentence in document["notes"]]
    parts += [Text(f"warning: {sentence}", style="yellow") for sentence in document["warnings"]]
    return Group(*parts)


def verification_summary(verified: dict[str, Any]) -> RenderableType:
    """Give predicted against real errors, ready to print.

    Parameters
    ----------
    verified : dict
        verification.json.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("soft ratio", "temperature", "predicted", "± s.e.", "real", "± s.e.", ""):
        table.add_column(title, justify="left" if title == "" else "right")
    for row in verified["rows"]:
        numbers = [_percent(row[k]) for k in ("predicted", "predicted_se", "real", "real_se")]
        style = "bold" if "recommended" in row["role"] else None
        table.add_row(
            f"{row['soft_ratio']:g}", f"{row['temperature']:g}", *numbers, row["role"], style=style
        )
    lines = [
        conclusion(verified),
        (
            f"{verified['students']} students took {verified['seconds']:.0f} s, the plan"
            f" {verified['plan_seconds']:.0f} s."
        ),
    ]
    if verified["rank_correlation"] is not None:
        lines.insert(
            1, f"Rank correlation of predicted and real errors: {verified['rank_correlation']:.2f}."
        )
    return Group(table, *(Text(line) for line in lines))


def _settings(document: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    known = {
        k: v for k, v in _COLUMNS.items() if any(s[k] is not None for s in document["settings"])
    }
    for title in ("", "soft ratio", "temperature", *known.values()):
        table.add_column(title, justify="right")
    best = document["recommended"]
    key = (best["soft_ratio"], best["temperature"])
    shown = document["settings"][:_ROWS]
    if all((s["soft_ratio"], s["temperature"]) != key for s in shown):
        shown = [best, *shown]
    for s in shown:
        chosen = (s["soft_ratio"], s["temperature"]) == key
        cells = [(_number if k == "data_inefficiency" else _percent)(s[k]) for k in known]
        row = ["→" if chosen else "", f"{s['soft_ratio']:g}", f"{s['temperature']:g}", *cells]
        table.add_row(*row, style="bold" if chosen else None)
    return table


def _cost_lines(cost: dict[str, Any]) -> list[str]:
    if cost["expected_regret"] is None:
        return []
    pilots = len(cost["pilots"])
    return [
        f"Expected to err {cost['expected_regret']:.2f} points more than the best of these settings"
        f" (90 %: {_at_most(cost)}); found with {pilots} pilot{'' if pilots == 1 else 's'}, with as"
        f" many operations as {cost['trainings']:.2g} trainings of the student."
    ]


def _sample_lines(samples: dict[str, Any]) -> list[str]:
    lines = []
    if (target := samples["target"]) is not None:
        lines.append(f"For an error of {_percent(target['error'])}: {wanted(target)}.")
    if (ahead := samples["next_1000"]) is not None:
        low, high = _percent(ahead["error_low"]), _percent(ahead["error_high"])
        lines.append(
            f"With 1,000 more samples: error {_percent(ahead['error'])} (90 %: {low} to {high})."
        )
    if (rest := samples.get("labelled")) is not None:
        lines.append(
            f"Labels of all samples would take {100 * rest['error_reduction']:.1f} ±"
            f" {100 * rest['se']:.1f} points off the error."
        )
    return lines


def _suspects(teacher: dict[str, Any]) -> str:
    listed = "suspect_labels.csv lists labels to check, the most suspicious first"
    wrong = teacher["wrong_labels"]
    if not surely_wrong(teacher):
        return f"{listed}."
    low, high = (_percent(wrong[k]) for k in ("low", "high"))
    return (
        f"About {_percent(wrong['share'])} of the labels are wrong (90 %: {low} to {high});"
        f" {listed}."
    )


def _at_most(cost: dict[str, Any]) -> str:
    high = cost.get("regret_high")
    return "not known" if high is None else f"at most {high:.2f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
