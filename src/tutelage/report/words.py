"""Numbers as people read them, in the terminal and on pages."""

from typing import Any

from tutelage.decisions.settings import HARDLY

HARDLY_WRONG = 0.01  # of the labels


def percent(value: float | None, digits: int = 1) -> str:
    """A share, such as 12.3 %."""
    return "not known" if value is None else f"{100 * value:.{digits}f} %"


def points(value: float, digits: int = 1) -> str:
    """A difference of shares, such as 1.2 points."""
    return f"{100 * value:.{digits}f} points"


def count(n: int | None) -> str:
    """How many, or that no number is enough."""
    return "out of reach" if n is None else f"{n:,}"


def infinite(document: dict[str, Any]) -> bool:
    """Whether a plan is of an infinitely wide network."""
    return "width=inf" in document["student"]


def partly_labelled(document: dict[str, Any]) -> bool:
    """Whether some samples of a plan's pool have no label."""
    task = document["task"]
    return bool(task["labels"]) and task.get("n_labelled", task["n_train"]) < task["n_train"]


def surely_wrong(teacher: dict[str, Any]) -> bool:
    """Whether it is sure that more than hardly any label of the pool is wrong."""
    wrong = teacher.get("wrong_labels")
    return wrong is not None and bool(wrong["low"] >= HARDLY_WRONG)


def undecided(document: dict[str, Any]) -> bool:
    """Whether no setting is surely worse than the recommended one, though some may be by more than
    a point.
    """
    best = document["recommended"]
    of = "error" if best["error"] is not None else "transfer_risk"
    most = max((s[of] for s in document["settings"] if s[of] is not None), default=0.0)
    return best["verdict"] == "flat" and bool(most - (best[of] or 0.0) > HARDLY)


def wanted(target: dict[str, Any]) -> str:
    """How many samples a target takes, with the interval."""
    low, high = count(target["n_low"]), count(target["n_high"])
    if target["n"] is None:
        return f"out of reach (90 %: {low} samples or more)" if target["n_low"] else "out of reach"
    return f"{count(target['n'])} samples (90 %: {low} to {high}{beyond(target)})"


def beyond(target: dict[str, Any]) -> str:
    """That a number of samples is more than there are."""
    return "; beyond the pool, extrapolated" if target["extrapolated"] else ""
