"""Several teachers by what their labels cost: which one an amount is best spent on."""

import itertools
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tutelage.decisions.costs import Offer, ranked, spends
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
    """

    best: str
    cells: tuple[str, ...]
    close: bool = False


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
    error = f"{100 * best.error:.1f} ± {percent(best.error_se)}"
    cells = (f"{spend:,.12g}", name, f"{best.n:,}", error)
    if not others:
        return Spent(name, (*cells, "–", "–"))
    second, other = others[0]
    apart, spread = other.error - best.error, (best.error_se**2 + other.error_se**2) ** 0.5
    told = f"{100 * apart:.1f} ± {points(spread)}"
    return Spent(name, (*cells, second, told), close=apart <= 2 * spread)


def where_to_spend(rows: list[Spent]) -> str:
    """Say from which amount to which each teacher is the best one, and where another one may be."""
    said = []
    for name, group in itertools.groupby(rows, lambda row: row.best):
        amounts = [row.cells[0] for row in group]
        until = "" if len(amounts) == 1 else f" to {amounts[-1]}"
        said.append(f"{name} for {amounts[0]}{until}")
    close = " and ".join(row.cells[0] for row in rows if row.close)
    unsure = f" For {close} it is too little to tell from the next best." if close else ""
    return f"Labels are best bought from {', '.join(said)}.{unsure}"


def cost_summary(offers: dict[str, Offer]) -> RenderableType:
    """Give the rows as a table, ready to print."""
    rows = rows_of(offers)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in TITLES:
        table.add_column(title, justify="left" if title.endswith(("on", "best")) else "right")
    for row in rows:
        table.add_row(*row.cells)
    return Group(table, Text(where_to_spend(rows)))
