"""What real students said of a plan, in a sentence."""

from typing import Any

SURE = 2  # standard errors


def conclusion(verified: dict[str, Any]) -> str:
    """Say whether real students bear a plan out, and what to use if not.

    Parameters
    ----------
    verified : dict
        verification.json.
    """
    rho, t = verified["best"]
    regret, se = 100 * verified["regret"], 100 * verified["regret_se"]
    best = f"soft ratio {rho:g}, temperature {t:g}"
    lead, levels = f"{verified['students']} real students: ", _levels(verified["rows"])
    if len(verified["rows"]) == 1:
        return f"{lead}only the recommended setting was trained. {levels}"
    if verified["regret"] == 0:
        return lead + f"the recommended setting erred least of those that were trained. {levels}"
    by = f"{regret:.2f} ± {se:.2f} points more than the best of them ({best})"
    if better(verified):
        return lead + f"the recommended setting erred {by}. Use that one. {levels}"
    return lead + f"the recommended setting erred {by}, which may be chance: keep it. {levels}"


def better(verified: dict[str, Any] | None) -> tuple[float, float] | None:
    """Give the setting at which real students erred surely less than at the recommended one, if
    there is one.
    """
    if verified is None or not verified["regret"] > SURE * verified["regret_se"]:
        return None
    rho, t = verified["best"]
    return float(rho), float(t)


def _levels(rows: list[dict[str, Any]]) -> str:
    """Say how far predicted and real errors are apart."""
    known = [row for row in rows if row["predicted"] is not None and row["real"] is not None]
    if not known:
        return "No error was predicted of them."
    apart = [row["real"] - row["predicted"] for row in known]
    spread = [(row["predicted_se"] ** 2 + row["real_se"] ** 2) ** 0.5 for row in known]
    missed = sum(abs(d) > SURE * s for d, s in zip(apart, spread, strict=True))
    mean = 100 * sum(apart) / len(apart)
    side = "higher" if mean > 0 else "lower"
    surely = (
        f"{missed} of {len(known)} differ by more than two standard errors"
        if missed
        else "none differs by more than two standard errors"
    )
    return f"Their errors are {abs(mean):.1f} points {side} than predicted on average; {surely}."
