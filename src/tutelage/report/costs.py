"""Several teachers by what their labels cost: which one an amount is best spent on."""

import itertools
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tutelage.decisions.costs import Offer, ranked, spends
from tutelage.report.verified import SURE
from tutelage.report.words import percent, points

TITLES = ("spent", "best spent on", "samples", "error ± s.e.", "next best", "worse by")


@dataclass(frozen=True)
class Spent:
    """The best teacher for one amount, and the next best.

    Attributes
    ----------
    best : str
    cells : tuple of str
        As `TITLES` name them.
    close : bool
        Whether the next best is within two standard errors.
    untold : bool
        Whether the amount buys too few samples of a teacher to predict an error.
    """

    best: str
    cells: tuple[str, ...]
    close: bool
    untold: bool


def offers_of(plans: dict[str, dict[str, Any]], costs: list[float]) -> dict[str, Offer]:
    """Give each plan its teacher's cost of one sample, in the order of plans."""
    return {
        name: Offer.of(plan, cost) for (name, plan), cost in zip(plans.items(), costs, strict=True)
    }


def rows_of(offers: dict[str, Offer]) -> list[Spent]:
    """Give a row for each of some round amounts."""
    return [_row(offers, spend) for spend in spends(offers)]


def _row(offers: dict[str, Offer], spend: float) -> Spent:
    (name, best), *others = ranked(offers, spend)
    untold = len(others) + 1 < len(offers)
    error = f"{100 * best.error:.1f} ± {percent(best.error_se)}"
    cells = (f"{spend:,.12g}", f"{name} ?" if untold else name, f"{best.n:,}", error)
    if not others:
        return Spent(name, (*cells, "not told", "–"), close=False, untold=untold)
    second, other = others[0]
    apart, spread = other.behind(best)
    told = (second, f"{100 * apart:.1f} ± {points(spread)}")
    return Spent(name, (*cells, *told), close=apart <= SURE * spread, untold=untold)


def where_to_spend(rows: list[Spent]) -> str:
    """Say from which amount to which each teacher is the best one, and where that is not told."""
    told = [row for row in rows if not row.untold]
    said = [
        f"{_amounts(list(group))} on {name}"
        for name, group in itertools.groupby(told, lambda row: row.best)
    ]
    close = [row for row in told if row.close]
    sentences = [f"It is best to spend {', and '.join(said)}."] if said else []
    if close:
        amounts = " and ".join(row.cells[0] for row in close)
        sentences.append(f"For {amounts} the next best is too close to tell.")
    if len(told) < len(rows):
        less = _amounts([row for row in rows if row.untold])
        sentences.append(f"For {less} it is not told: that buys too few samples of a teacher.")
    return " ".join(sentences)


def _amounts(rows: list[Spent]) -> str:
    """What is spent in rows that follow each other."""
    spent = [row.cells[0] for row in rows]
    return spent[0] if len(spent) == 1 else f"{spent[0]} to {spent[-1]}"


def cost_summary(offers: dict[str, Offer]) -> RenderableType:
    """Give the rows as a table, ready to print."""
    rows = rows_of(offers)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in TITLES:
        table.add_column(title, justify="left" if title.endswith(("on", "best")) else "right")
    for row in rows:
        table.add_row(*row.cells)
    return Group(table, Text(where_to_spend(rows)))
