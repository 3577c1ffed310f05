"""What every variable of the curves is, in a line, and in which unit."""

DESCRIPTIONS: dict[str, tuple[str, str]] = {
    "error": ("share of held-out samples on which the student misses the true label", "1"),
    "transfer_risk": (
        "share of held-out samples on which the student decides otherwise than the teacher",
        "1",
    ),
    "oracle_risk": (
        (
            "share of held-out samples on which the student decides otherwise than that of the"
            " whole pool"
        ),
        "1",
    ),
    "expected_transfer_risk": (
        "transfer risk expected without held-out labels or teacher, (4.4)",
        "1",
    ),
    "risk_bound": ("Ji and Zhu's bound on oracle_risk, (4.1)", "1"),
    "power_bound": ("bound on oracle_risk through the power function, (4.2)", "1"),
    "certified_fraction": (
        "share of held-out samples decided for certain as the oracle does, (4.3)",
        "1",
    ),
    "data_inefficiency": ("data inefficiency I(n) from fresh samples, (5.2)", "1"),
    "data_inefficiency_se": ("standard error of data_inefficiency over held-out samples", "1"),
    "data_inefficiency_slope": (
        "data inefficiency from the window that ends at n, over orderings, (5.1)",
        "1",
    ),
    "data_inefficiency_slope_se": ("standard error of data_inefficiency_slope over orderings", "1"),
    "error_prequential": (
        "share of the last third of the first n samples mispredicted from those before, (3.5)",
        "1",
    ),
    "error_loo": ("share of the pool mispredicted when left out, (3.6)", "1"),
    "squared_norm": (
        "squared norm of the student's weights, summed over classes, (3.2)",
        "squared logits",
    ),
    "distance": ("norm of the whole pool's student: how far its weights travel", "logits"),
    "cos_teacher_reference": (
        "cosine of the teacher's weights with the reference direction (§6)",
        "1",
    ),
    "cos_correction_reference": (
        "cosine of the hard labels' correction with the reference direction (§6)",
        "1",
    ),
    "cos_correction_teacher": (
        "cosine of the hard labels' correction with the teacher's weights (§6)",
        "1",
    ),
    "cos_effective_reference": (
        "cosine of the student's weights with the reference direction (§6)",
        "1",
    ),
    "decision": ("class given to each held-out sample by the student of the whole pool", "class"),
    "decision_loo": (
        "class given to each pool sample by the student of all the others, (3.6)",
        "class",
    ),
    "copy_of": (
        "first pool sample with the same inputs, or nearly: itself, where none comes before it",
        "index",
    ),
    "evaluated": ("number of held-out samples behind each error", "samples"),
    "jitter": ("λ added to the kernel's diagonal (§9)", "squared logits"),
    "jitter_relative": ("λ over the mean of the kernel's diagonal (§9)", "1"),
}
