"""Which soft ratio and temperature (docs/theory.md §7)."""

from dataclasses import dataclass

import numpy as np

from tutelage.decisions.evidence import Evidence

VERDICTS = ("clear", "flat", "labels suffice")
_SURE = 2  # paired standard errors by which the worst setting has to err more
HARDLY = 0.01  # of an error: what the choice hardly matters by
_NAMED = 4  # equally good settings, before it is said where they lie


@dataclass(frozen=True)
class Choice:
    """The outcome of the rule, as indices into the evidence.

    Attributes
    ----------
    chosen : int
    equally_good : list of int
        Every setting whose error is within one paired standard error of the least, the chosen one
        among them.
    verdict : {"clear", "flat", "labels suffice"}
    why : str
        A sentence.
    """

    chosen: int
    equally_good: list[int]
    verdict: str
    why: str


def choose(evidence: Evidence, *, labels_may_suffice: bool = True) -> Choice:
    """Choose among settings whose error is within one standard error of the least.

    Of those the one that takes the least effort: the lowest data inefficiency, or for a network the
    least distance to travel. After pilots, and where wrong labels are counted (3.12), it is the one
    of the least expected error. Efforts closer than
    their own standard error are ties, and ties go to the higher temperature, then the higher soft
    ratio.

    Parameters
    ----------
    evidence : Evidence
    labels_may_suffice : bool
        False where many labels are wrong: an infinitely wide student is harmed less by them than
        others are, and of networks it is not sure by how much. And where samples have none, which
        learn from the teacher at each setting.

    Returns
    -------
    Choice
    """
    error = evidence.judged
    best = int(error.argmin())
    equal = [s for s in range(len(error)) if evidence.within_one_se(s, best)]
    # What is known of real students weighs more than which students learn with ease.
    least = equal if evidence.alone else np.flatnonzero(error == error[best]).tolist()
    chosen = easiest(least, evidence)
    worst = max(
        range(len(error)),
        key=lambda s: (error[s], evidence.soft_ratio[s], -evidence.temperature[s]),
    )
    verdict = _verdict(evidence, equal, chosen, worst)
    if verdict == "labels suffice" and not labels_may_suffice:
        verdict = "clear"
    return Choice(chosen, equal, verdict, _why(evidence, equal, chosen, worst, verdict))


def easiest(equal: list[int], evidence: Evidence) -> int:
    """Of equally good settings the one that is easiest to learn: see `choose`."""
    lowest = min(equal, key=lambda s: evidence.effort[s])

    def ties(s: int) -> bool:
        own = max(evidence.effort_se[s], evidence.effort_se[lowest])
        return bool(evidence.effort[s] - evidence.effort[lowest] <= own)

    tied = [s for s in equal if ties(s)]
    return max(tied, key=lambda s: (evidence.temperature[s], evidence.soft_ratio[s]))


def _verdict(evidence: Evidence, equal: list[int], chosen: int, worst: int) -> str:
    excess, spread = evidence.excess(worst, chosen)
    if excess <= _SURE * spread * (1 + 1e-9):  # of many settings one is worse by chance
        return "flat"
    ratios = evidence.soft_ratio
    equal_ratios = set(ratios[equal].tolist())
    if ratios.max() == 1 and ratios.min() in equal_ratios and 1.0 not in equal_ratios:
        return "labels suffice"
    return "clear"


def _why(evidence: Evidence, equal: list[int], chosen: int, worst: int, verdict: str) -> str:
    error, what = (
        evidence.error,
        ("error" if evidence.against_labels else "disagreement with the teacher"),
    )
    count, total = len(equal), len(error)
    low = float(evidence.soft_ratio[equal].min())
    if evidence.soft_ratio.min() == 1 and verdict == "flat" and np.ptp(error) == 0:
        return (
            "At a soft ratio of 1 the temperature does not move the converged student"
            f" ({what} {_percent(error[chosen])}): do not tune."
        )
    if verdict == "flat":
        said = (
            f"No setting of the {total} is predicted to be surely worse than this one ({what}"
            f" {_percent(error.min())} to {_percent(error.max())})"
        )
        if error.max() - error[chosen] > HARDLY:
            return f"{said}; whether the choice matters cannot be told yet."
        return f"{said}: do not tune."
    excess, spread = evidence.excess(worst, chosen)
    lead = (
        f"Predicted {what} {_percent(error[chosen])}, against {_percent(error[worst])} for the"
        f" worst setting ({_name(evidence, worst)}; {_points(excess)} ± {_points(spread)} points"
        " more); "
    )
    if verdict == "labels suffice":
        return (
            lead
            + f"soft ratios down to the grid's smallest ({low:g}) are as good, and 1 is not: the"
            " labels do most of the work, and the teacher's own logits add little."
        )
    if count == 1:
        return lead + "no other setting of the grid is within one standard error."
    return (
        lead
        + f"{count} of {total} settings are as good ({_among(evidence, equal)}), and of those this"
        f" one {'is the easiest to learn' if evidence.alone else 'should err least'}"
        f"{', once wrong labels are counted' if evidence.wrong else ''}."
    )


def _among(evidence: Evidence, equal: list[int]) -> str:
    """Name settings, or where they lie if they are many."""
    if len(equal) <= _NAMED:
        pairs = sorted(
            zip(evidence.soft_ratio[equal], evidence.temperature[equal], equal, strict=True)
        )
        return "; ".join(_name(evidence, s) for *_, s in pairs)
    return f"{_range('ρ', evidence.soft_ratio[equal])}, {_range('T', evidence.temperature[equal])}"


def _range(name: str, values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{name} = {low:g}" if low == high else f"{name} from {low:g} to {high:g}"


def _name(evidence: Evidence, s: int) -> str:
    return f"ρ = {evidence.soft_ratio[s]:g}, T = {evidence.temperature[s]:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
