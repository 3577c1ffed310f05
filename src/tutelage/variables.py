"""The schema of curves: every variable, its dims, its unit, and which solution gives it."""

from dataclasses import dataclass

_SETTING = ("epoch", "soft_ratio", "temperature")
_ALL = ("ordering", *_SETTING, "n")


@dataclass(frozen=True)
class Variable:
    """One variable of the curves.

    Attributes
    ----------
    says : str
        What it is, in a line.
    dims : tuple of str
        `epoch` only where the task has epochs. `start` counts the starts that decide for the whole
        pool, `test_sample` and `pool_sample` samples as the task has them.
    units : str
    lacking : str
        Why the solution in features has NaN in its place, wholly or at some n; empty where it
        gives it.
    """

    says: str
    dims: tuple[str, ...] = _ALL
    units: str = "1"
    lacking: str = ""

    @property
    def attributes(self) -> dict[str, str]:
        """For a data set."""
        known = {"long_name": self.says, "units": self.units, "lacking": self.lacking}
        return {name: value for name, value in known.items() if value}


_BOUND = "in features: what they leave of the kernel has no bound"
_UP_TO_D = "in features at n > D: D numbers learn less from a sample than the student does"
_COSINE = "cosine of {} (§6)"

SCHEMA: dict[str, Variable] = {
    "error": Variable("share of held-out samples on which the student misses the true label"),
    "transfer_risk": Variable(
        "share of held-out samples on which the student decides otherwise than the teacher"
    ),
    "oracle_risk": Variable(
        "share of held-out samples on which the student decides otherwise than that of the whole"
        " pool"
    ),
    "expected_transfer_risk": Variable(
        "transfer risk expected without held-out labels or teacher, (4.4)"
    ),
    "risk_bound": Variable("Ji and Zhu's bound on oracle_risk, (4.1)", lacking=_BOUND),
    "power_bound": Variable(
        "bound on oracle_risk through the power function, (4.2)", lacking=_BOUND
    ),
    "certified_fraction": Variable(
        "share of held-out samples decided for certain as the oracle does, (4.3)", lacking=_BOUND
    ),
    "data_inefficiency": Variable(
        "data inefficiency I(n) from fresh samples, (5.2)", lacking=_UP_TO_D
    ),
    "data_inefficiency_se": Variable(
        "standard error of data_inefficiency over held-out samples", lacking=_UP_TO_D
    ),
    "data_inefficiency_slope": Variable(
        "data inefficiency from the window that ends at n, over orderings, (5.1)", (*_SETTING, "n")
    ),
    "data_inefficiency_slope_se": Variable(
        "standard error of data_inefficiency_slope over orderings", (*_SETTING, "n")
    ),
    "error_prequential": Variable(
        "share of the last third of the first n samples mispredicted from those before, (3.5)",
        lacking="in features: samples are solved for by sizes, not one by one",
    ),
    "error_loo": Variable("share of the pool mispredicted when left out, (3.6)", _SETTING),
    "squared_norm": Variable(
        "squared norm of the student's weights, summed over classes, (3.2)", units="squared logits"
    ),
    "distance": Variable(
        "norm of the whole pool's student: how far its weights travel",
        ("ordering", *_SETTING),
        "logits",
    ),
    "cos_teacher_reference": Variable(
        _COSINE.format("the teacher's weights with the reference direction")
    ),
    "cos_correction_reference": Variable(
        _COSINE.format("the hard labels' correction with the reference direction")
    ),
    "cos_correction_teacher": Variable(
        _COSINE.format("the hard labels' correction with the teacher's weights")
    ),
    "cos_effective_reference": Variable(
        _COSINE.format("the student's weights with the reference direction")
    ),
    "decision": Variable(
        "class given to each held-out sample by the student of the whole pool",
        ("start", *_SETTING, "test_sample"),
        "class",
    ),
    "decision_loo": Variable(
        "class given to each pool sample by the student of all the others, (3.6); -1 where no"
        " student can tell",
        (*_SETTING, "pool_sample"),
        "class",
    ),
    "held_out": Variable(
        "pool sample that each held-out sample is, where the task has no test part",
        ("test_sample",),
        "index",
    ),
    "copy_of": Variable(
        "first pool sample with the same inputs, or nearly: itself, where none comes before it",
        ("pool_sample",),
        "index",
    ),
    "error_se": Variable(
        "standard error of error: test part, seeds, and how theory and students differ (§3.3)",
        ("soft_ratio", "temperature", "n"),
    ),
    "transfer_risk_se": Variable(
        "standard error of transfer_risk, as of error", ("soft_ratio", "temperature", "n")
    ),
    "error_linearised": Variable(
        "error at N that theory alone predicts, before pilots", ("soft_ratio", "temperature")
    ),
    "error_covariance": Variable(
        "covariance over settings of what real errors at N differ by from expected ones, (3.11)",
        ("setting", "beside"),
    ),
    "pilot_soft_ratio": Variable("soft ratio of a pilot", ("pilot",)),
    "pilot_temperature": Variable("temperature of a pilot", ("pilot",)),
    "pilot_n": Variable("samples of a pilot", ("pilot",), "samples"),
    "pilot_epochs": Variable("epochs of a pilot", ("pilot",), "epochs"),
    "pilot_error": Variable("error of a pilot, a real student", ("pilot",)),
    "pilot_predicted": Variable("error that theory predicts of a pilot", ("pilot",)),
    "evaluated": Variable("number of held-out samples behind each error", ("n",), "samples"),
    "ridge": Variable(
        "ridge of the features, over what they leave of the kernel's diagonal, (3.8)"
    ),
    "jitter": Variable("λ added to the kernel's diagonal (§9)", ("ordering",), "squared logits"),
    "jitter_relative": Variable("λ over the mean of the kernel's diagonal (§9)", ("ordering",)),
}
"""By name; `ridge` there is in features only, `error` and others only where there is something to
measure them on, those of pilots and of how sure they make it in plans within a budget only.
"""
