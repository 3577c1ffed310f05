"""A plan in about ten plain sentences."""

from typing import Any

from tutelage.report.verified import better, conclusion
from tutelage.report.words import (
    HARDLY_WRONG,
    infinite,
    partly_labelled,
    percent,
    points,
    surely_wrong,
    undecided,
    wanted,
)

Document = dict[str, Any]
_VERDICTS = {
    "clear": "The choice matters: other settings of the grid are clearly worse.",
    "flat": "The choice hardly matters: do not spend time on tuning it.",
    "labels suffice": (
        "The labels do most of the work: a small weight on the teacher is as good as a large one."
    ),
}
_WIDE = 0.5  # of an error: an interval that is of little use
_EQUALS = 4  # settings that are named beside the recommended one


def explain(document: Document, verification: Document | None = None) -> list[str]:
    """Say what a plan found and why, in sentences.

    Parameters
    ----------
    document : dict
        plan.json.
    verification : dict, optional
        verification.json.

    Returns
    -------
    list of str
        About ten sentences, the most important first.
    """
    found = better(verification)
    parts = (_why, _error, _gain, _equal, _more, _samples)
    said = [sentence for part in parts if (sentence := part(document))]
    said = [means(document, found), *said, sure(document, verification)]
    checked = None if verification is None else conclusion(verification)
    said = [_use(document), *said]
    if found is not None:
        first = (
            f"Use a soft ratio of {found[0]:g} and a temperature of {found[1]:g}, as real students"
        )
        said[0] = f"{first} say."
    if verification is not None:
        said[1] += " What follows is what the plan had predicted; real students stand last."
    return [*said, *([checked] if checked else []), *_next(document, checked=checked is not None)]


def _use(document: Document) -> str:
    best, epoch = document["recommended"], document["teacher"]["recommended_epoch"]
    of = "" if epoch is None else f", and the teacher's checkpoint of epoch {epoch}"
    return (
        f"Use a soft ratio of {best['soft_ratio']:g} and a temperature of"
        f" {best['temperature']:g}{of}."
    )


def means(document: Document, setting: tuple[float, float] | None = None) -> str:
    """Say what a setting does to the loss, by default the recommended one."""
    best = document["recommended"]
    rho, t = setting or (best["soft_ratio"], best["temperature"])
    if rho == 1:
        return "The student then learns from the teacher's soft outputs alone, not from labels."
    softened = "as they are" if t == 1 else f"softened by dividing its logits by {t:g}"
    where = " Samples without a label learn from the teacher alone." * partly_labelled(document)
    return (
        f"The loss then weighs the teacher's outputs, {softened}, by {100 * rho:g} % and the labels"
        f" by {100 * (1 - rho):g} %.{where}"
    )


def _why(document: Document) -> str:
    best, count = document["recommended"], len(document["settings"])
    as_good = len(best["equally_good"])
    if best["verdict"] == "clear" and 2 * as_good > count:
        return (
            f"The choice matters a little: {as_good} of {count} settings are as good, others are"
            " surely worse."
        )
    if undecided(document):
        return (
            "Whether the choice matters cannot be told yet: no setting is surely worse, but some"
            " may be by points. tutelage verify --grid tells."
        )
    return _VERDICTS[best["verdict"]]


def _error(document: Document) -> str:
    best, task = document["recommended"], document["task"]
    if best["error"] is None:
        return (
            "The task has no labels, so that no error is predicted; the student is predicted to"
            f" differ from the teacher on {percent(best['transfer_risk'])} of samples."
        )
    known = task["teacher_accuracy_test"]
    own = "" if known is None else f"; the teacher itself is wrong on {percent(1 - known)}"
    return (
        f"The student is predicted to be wrong on {percent(best['error'])} of samples (standard"
        f" error {points(best['error_se'])}){own}."
    )


def _gain(document: Document) -> str | None:
    gain = document["recommended"]["gain_over_labels"]
    best = document["recommended"]
    if gain and all(gain[name] == best[name] for name in ("soft_ratio", "temperature")):
        return (
            "This is the smallest soft ratio of the grid: the student learns from labels nearly"
            " alone."
        )
    if not gain:
        return None
    side = "less" if gain["error_reduction"] >= 0 else "more"
    what = (
        "the smallest soft ratio, where samples without a label still learn from the teacher"
        if partly_labelled(document)
        else "almost nothing but labels"
    )
    return (
        f"That is {100 * abs(gain['error_reduction']):.1f} ± {points(gain['se'])} {side} than"
        f" with {what} (soft ratio {gain['soft_ratio']:g}, temperature"
        f" {gain['temperature']:g})."
    )


def _equal(document: Document) -> str:
    best = document["recommended"]
    own = [best["soft_ratio"], best["temperature"]]
    others = [list(pair) for pair in best["equally_good"] if list(pair) != own]
    if not others:
        return "No other setting of the grid is as good within its uncertainty."
    said = ", ".join(f"ρ = {rho:g} with T = {t:g}" for rho, t in others[:_EQUALS])
    more = len(others) - _EQUALS
    rest = f" and {more} more" if more > 0 else ""
    verb = "are" if len(others) > 1 else "is"
    return (
        f"As good, within what can be told, {verb} {said}{rest} (ρ is the soft ratio, T the"
        " temperature)."
    )


def sure(document: Document, verification: Document | None = None) -> str:
    """Say how sure the choice is, and what it would cost to be wrong."""
    cost = document["cost"]
    if cost["expected_regret"] is None:
        trained = (
            "without training a real student, and your network may differ: plan for it (--student)"
            if verification is None
            else f"and {verification['students']} real students were then trained to check it"
        )
        return f"The plan was computed for {_student(document)}, {trained}."
    pilots, most = len(cost["pilots"]), cost.get("regret_high")
    trained = f"{'only ' * (pilots == 1)}{pilots or 'no'} real student{'s' * (pilots > 1)}"
    high = "" if most is None else f" (in nine cases of ten {most:.2f} at most)"
    return (
        f"The recommended setting is expected to err {cost['expected_regret']:.2f} points more than"
        f" the best of the grid{high}; the plan trained {trained}{', briefly,' * (pilots > 0)} and"
        f" took as many operations as {cost['trainings']:.2g} trainings."
    )


def _student(document: Document) -> str:
    name: str = document["student"]
    return f"an infinitely wide network ({name})" if infinite(document) else name


def _more(document: Document) -> str | None:
    samples = document["samples"]
    target, ahead, rest = (samples.get(k) for k in ("target", "next_1000", "labelled"))
    if target is not None:
        return f"For an error of {percent(target['error'])}: {wanted(target)}."
    if rest is not None:
        return (
            "Labels for all samples would take"
            f" {100 * rest['error_reduction']:.1f} ± {points(rest['se'])} off the error."
        )
    if ahead is not None:
        return (
            f"With 1,000 more samples the error would be {percent(ahead['error'])} (90 %:"
            f" {percent(ahead['error_low'])} to {percent(ahead['error_high'])}).{_wide(document)}"
        )
    return None


def _wide(document: Document) -> str:
    """What to do where a forecast is too uncertain to go by."""
    ahead, n = document["samples"]["next_1000"], document["task"]["n_train"]
    if ahead["error_high"] - ahead["error_low"] <= _WIDE * ahead["error"]:
        return ""
    return f" That is wide: train one student of {2 * n:,} samples to know."


def _samples(document: Document) -> str | None:
    teacher = document["teacher"]
    label, mended, open_ = (
        len(teacher[name])
        for name in ("label_corrects_teacher", "teacher_corrects_label", "undecided")
    )
    if not document["task"]["labels"] or label + mended + open_ == 0:
        return None
    return (
        f"Teacher and label differ on {label + mended + open_:,} samples of the pool. Students that"
        f" have not seen them side with the label on {label:,} and with the teacher on {mended:,};"
        f" {open_:,} are open. These are votes, not verdicts.{_wrong_labels(teacher)}"
        " suspect_labels.csv lists all of them, the most suspicious label first."
    )


def _wrong_labels(teacher: Document) -> str:
    wrong = teacher.get("wrong_labels")
    if wrong is None:
        return ""
    if wrong["high"] < HARDLY_WRONG:
        return " Hardly any label of the pool is wrong, if those of the test part are right."
    if not surely_wrong(teacher):
        return (
            " Whether any label of the pool is wrong cannot be told (90 %:"
            f" {percent(wrong['low'])} to {percent(wrong['high'])} of them)."
        )
    return (
        f" About {percent(wrong['share'])} of the pool's labels are wrong (90 %:"
        f" {percent(wrong['low'])} to {percent(wrong['high'])}), if those of the test part are"
        " right."
    )


def _next(document: Document, *, checked: bool) -> list[str]:
    said = [f"Mind: {warning}" for warning in document["warnings"]]
    if document["teacher"]["label_next"]:
        said.append("label_next.csv says which samples to label next.")
    if not checked:
        said.append("To check the plan with real students, run tutelage verify on its folder.")
    return said
