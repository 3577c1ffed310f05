"""What real students said of a plan, in a sentence."""

from typing import Any

_SURE = 2  # standard errors


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
    lead = f"{verified['students']} real students: "
    if verified["regret"] == 0:
        return lead + "the recommended setting erred least of those that were trained."
    by = f"{regret:.2f} ± {se:.2f} points more than the best of them ({best})"
    if regret > _SURE * se:
        return lead + f"the recommended setting erred {by}. Use that one."
    return lead + f"the recommended setting erred {by}, which may be chance."
