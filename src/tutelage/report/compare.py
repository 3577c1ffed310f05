"""Several plans side by side: of several students, teachers or pools."""

import math
from dataclasses import dataclass
from typing import Any

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from tutelage.report.verified import SURE, better
from tutelage.report.words import infinite, percent, points

Document = dict[str, Any]
Checked = dict[str, Document | None]
"""verification.json by the name of each plan, where there is one."""
MINOR = (
    "samples",
    "epoch",
    "teacher's error",
    "verdict",
    "cost in trainings",
    "operations",
)  # on a narrow screen
_SHARED = ("samples", "epoch")  # which say nothing where they are the same
_SAME = ("n_test", "n_classes", "majority_error")  # of test parts, if they are the same one


@dataclass(frozen=True)
class Row:
    """One plan.

    Attributes
    ----------
    name : str
    cells : tuple of str
        As the titles name them.
    """

    name: str
    cells: tuple[str, ...]


def compared(plans: dict[str, Document]) -> tuple[list[Row], tuple[str, ...]]:
    """Give a row for each plan, the least predicted error first, and the columns' titles. Columns
    that say nothing are left out.

    Parameters
    ----------
    plans : dict
        plan.json by the name of each plan; with labels.
    """
    titles = (
        "plan", "student", "samples", "soft ratio", "temperature", "epoch", "error ± s.e.",
        "teacher's error", "verdict", "cost in trainings", "parameters", "operations",
    )  # fmt: skip
    order = sorted(plans, key=lambda name: plans[name]["recommended"]["error"])
    rows = [Row(name, _cells(name, plans[name])) for name in order]
    named = all(plan["student"].startswith(name) for name, plan in plans.items())
    kept = [
        k
        for k, title in enumerate(titles)
        if any(row.cells[k] != "–" for row in rows)
        and not (title == "student" and (named or shared_student(plans)))
        and not (title in _SHARED and len({row.cells[k] for row in rows}) == 1)
    ]
    shown = [Row(row.name, tuple(row.cells[k] for k in kept)) for row in rows]
    return shown, tuple(titles[k] for k in kept)


def shared_student(plans: dict[str, Document]) -> str | None:
    """Give the student of all plans, where it is one; names of plans differ then."""
    students = {plan["student"] for plan in plans.values()}
    return students.pop() if len(students) == 1 else None


def _cells(name: str, plan: Document) -> tuple[str, ...]:
    best, task, cost = plan["recommended"], plan["task"], plan["cost"]["trainings"]
    epoch, known = plan["teacher"]["recommended_epoch"], task["teacher_accuracy_test"]
    return (
        name,
        plan["student"],
        f"{task['n_train']:,}",
        f"{best['soft_ratio']:g}",
        f"{best['temperature']:g}",
        "–" if epoch is None else str(epoch),
        f"{100 * best['error']:.1f} ± {percent(best['error_se'])}",
        "–" if known is None else percent(1 - known),
        best["verdict"],
        "–" if cost is None else f"{cost:.2f}",
        *(_size(plan["made_for"].get(key)) for key in ("parameters", "operations")),
    )


def _size(value: float | None) -> str:
    """Such as 12.3 M; an infinitely wide network has none."""
    if value is None:
        return "–"
    power = min(int(math.log10(max(value, 1)) // 3), 4)
    return f"{value / 1000**power:.3g}{['', ' k', ' M', ' G', ' T'][power]}"


def least(plans: dict[str, Document]) -> str:
    """Say which plan's student is predicted to err least, and how surely."""
    first, *others = [row.name for row in compared(plans)[0]]
    best = plans[first]["recommended"]
    said = f"{first}: {percent(best['error'])} predicted error, the least of the {len(plans)} plans"
    if not others:
        return f"{said}."
    second = plans[others[0]]["recommended"]
    apart = second["error"] - best["error"]
    spread = (best["error_se"] ** 2 + second["error_se"] ** 2) ** 0.5
    sure = "" if apart > SURE * spread else "; too little to tell them apart"
    return f"{said}. {others[0]} is {100 * apart:.1f} ± {points(spread)} worse{sure}."


def not_alike(plans: dict[str, Document], checked: Checked | None = None) -> list[str]:
    """Say where plans cannot be set side by side as they are, or real students refute one."""
    first, *others = plans.items()
    name, plan = first
    refuted = {of: better(verified) for of, verified in (checked or {}).items()}
    return (
        [
            f"{of}: real students erred surely less at a soft ratio of {setting[0]:g} and a"
            f" temperature of {setting[1]:g} than at the setting of the plan."
            for of, setting in refuted.items()
            if setting is not None
        ]
        + [
            f"{other} and {name} are evaluated on different samples ({_of(plan_of)} and"
            f" {_of(plan)}), so that their errors differ by chance, too."
            for other, plan_of in others
            if any(plan_of["task"][key] != plan["task"][key] for key in _SAME)
            or plan_of["error_from"] != plan["error_from"]
        ]
        + [
            f"{wide} is of an infinitely wide network, which cannot be trained as it is; a"
            " practical one may err more or less."
            for wide, plan_of in plans.items()
            if infinite(plan_of) and len({p["student"] for p in plans.values()}) > 1
        ]
    )


def _of(plan: Document) -> str:
    return f"{plan['task']['n_test'] or plan['task']['n_train']:,} of the {plan['error_from']}"


def comparison_summary(
    plans: dict[str, Document], checked: Checked | None = None
) -> RenderableType:
    """Give the rows as a table, ready to print."""
    rows, titles = compared(plans)
    table = Table(box=None, pad_edge=False, header_style="dim")
    shown = [k for k, title in enumerate(titles) if title not in MINOR]
    for k in shown:
        justify: JustifyMethod = "left" if titles[k] in ("plan", "student") else "right"
        table.add_column(titles[k], justify=justify, no_wrap=justify == "right", overflow="fold")
    for at, row in enumerate(rows):
        table.add_row(*(row.cells[k] for k in shown), style=None if at else "bold")
    warnings = [
        Text(f"warning: {sentence}", style="yellow") for sentence in not_alike(plans, checked)
    ]
    student = shared_student(plans)
    said = [Text(f"Student of each plan: {student}")] if student else []
    return Group(table, *said, Text(least(plans)), *warnings)
