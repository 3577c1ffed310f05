"""Write the JSON Schema of plan.json from the classes behind it.

python scripts/plan_schema.py        # writes docs/reference/plan.schema.json
"""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from tutelage._plan import Plan

PATH = Path(__file__).parents[1] / "docs" / "reference" / "plan.schema.json"
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
# NaN in Python, where they cannot be known, and null in JSON.
MAY_LACK = ("expected_transfer_risk", "distance", "data_inefficiency")
SAYS = {
    "tutelage": "version that made the plan",
    "task": "what the plan is of: its sizes, where it was read from, the teacher's accuracy",
    "student": "the student's SPEC or name",
    "t_power": "power of the temperature before the teacher's term: 0 or 2",
    "jitter": "added to the kernel's diagonal",
    "jitter_relative": "the same over the mean of the diagonal",
    "dtype": "of the computation: `float64` or `float32`",
    "seed": "of every random draw",
    "seconds": (
        "that it took; seconds, here and under `cost`, are all that differs between two runs"
    ),
    "error_from": "`test part`, or how the pool stands in for it",
    "settings": "all settings, the least error first",
    "recommended": "the one to use",
    "samples": "the recommended setting by number of samples",
    "teacher": "checkpoints, and samples on which teacher and label differ",
    "peers": "the recommended loss in the arguments of other tools; null where one cannot say it",
    "made_for": "what the student was, and how it is trained",
    "cost": "what the plan cost",
    "notes": "what was done, in sentences",
    "warnings": "what to know before relying on the plan, in sentences",
    "soft_ratio": "weight ρ of the teacher's term",
    "temperature": "T",
    "error": "predicted share of wrong decisions against true labels",
    "error_se": "its standard error",
    "balanced_error": "mean over classes of each one's error",
    "transfer_risk": "share of decisions that differ from the teacher's",
    "expected_transfer_risk": "the same, expected without held-out answers (4.4)",
    "risk_bound": "Ji and Zhu's bound (4.1)",
    "power_bound": "a tighter bound (4.2)",
    "certified_fraction": "share of inputs whose decision no longer changes (4.3)",
    "data_inefficiency": "how much the next sample still teaches (5.1)",
    "data_inefficiency_se": "its standard error",
    "error_prequential": "error on the pool, each sample predicted before it is used (3.5)",
    "error_loo": "leave-one-out error on the pool (3.6)",
    "distance": "how far the student's weights travel (3.2)",
    "error_linearised": "what theory alone predicts, before pilots",
    "verdict": "`clear`, `flat` or `labels suffice`",
    "equally_good": "pairs of soft ratio and temperature within one standard error of the least",
    "why": "the reason, in a sentence",
    "gain_over_labels": "against a setting that nearly trains on labels alone",
    "epochs": "of training; of the teacher: every checkpoint at its best setting",
    "recommended_epoch": "the checkpoint to use",
    "label_corrects_teacher": (
        "positions in the pool where the label seems right, the teacher wrong"
    ),
    "teacher_corrects_label": "positions where the teacher seems right, the label wrong",
    "undecided": "positions where students disagree",
    "flip_ratio_quantiles": "soft ratios below which labels overrule the teacher's errors",
    "suspect_labels": (
        "positions where teacher and label differ, the most suspicious label first (6.3)"
    ),
    "wrong_labels": (
        "share of the pool's labels that are wrong (6.2), if those of the test part are right; null"
        " where it cannot be told"
    ),
    "share": "the estimate",
    "low": "lower end of the 90 % interval",
    "high": "upper end of the 90 % interval",
    "label_next": "samples without a label, the one to label first first",
    "sizes": "numbers of samples n",
    "agreement": "share of decisions that are the teacher's",
    "target": "samples for a target error",
    "next_1000": "forecast of the error with 1,000 more samples",
    "labelled": "what labels of all samples would bring",
    "expected_regret": "points that the choice is expected to err more than the best of the grid",
    "regret_high": "the same at most in nine cases of ten",
    "trainings": "cost as a number of trainings of the student",
    "pilots": "real students that were briefly trained",
    "predicted": "error that theory predicts of it",
    "real": "its error on the test part",
    "n": "samples",
    "n_low": "lower end of the 90 % interval",
    "n_high": "upper end; null: out of reach",
    "error_low": "lower end of the 90 % interval",
    "error_high": "upper end",
    "extrapolated": "whether n lies beyond the pool",
    "error_reduction": "how much less error",
    "se": "its standard error",
    "epoch": "of the teacher",
    "standardise": "whether inputs were centred and scaled",
    "device": "where it was computed",
    "features": "in how many features it was computed; `exact`, or null, if in none",
    "orderings": "random orders of the pool, or starts of a network, that were averaged",
    "linearise": "where a network was linearised: `warm` or `init`",
    "warm_epochs": "epochs of the brief training, at most",
    "optimiser": "`sgd` or `adamw`; null for a student that is not trained",
    "learning_rate": "given, or found by a range test",
    "learning_rate_given": "whether it was given",
    "batch_size": "of training",
    "weight_decay": "of training",
    "warmup": "share of steps in which the learning rate grows from 0",
    "parameters": "of a network: how many numbers it learns from",
    "operations": "of a network: floating-point operations for one input",
    "target_error": "for which samples were asked for",
    "predicted_seconds": "that were announced, where there was a budget",
}


def main() -> None:
    """Write it."""
    PATH.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def schema() -> dict[str, Any]:
    """The schema of plan.json."""
    kinds = dict.fromkeys(_classes(Plan))
    found = {kind.__name__: _object(kind) for kind in kinds if kind is not Plan}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "plan.json",
        **_object(Plan),
        "$defs": found,
    }


def _classes(kind: Any) -> Iterator[Any]:
    if isinstance(kind, type) and is_dataclass(kind):
        yield kind
        for name, value in _fields(kind).items():
            del name
            yield from _classes(value)
    for inner in get_args(kind):
        yield from _classes(inner)


def _fields(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind) if not f.name.startswith("_")}


def _object(kind: Any) -> dict[str, Any]:
    known = _fields(kind)
    said = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return {
        "type": "object",
        "description": said,
        "properties": {
            name: (
                _kind(value | None if name in MAY_LACK and value is float else value) | _says(name)
            )
            for name, value in known.items()
        },
        "required": list(known),
        "additionalProperties": False,
    }


def _says(name: str) -> dict[str, str]:
    return {"description": SAYS[name]} if name in SAYS else {}


def _kind(kind: Any) -> dict[str, Any]:
    if kind is Any:
        return {}
    if isinstance(kind, type) and is_dataclass(kind):
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return {"anyOf": [_kind(one) for one in inner]}
    if origin is tuple:
        return {
            "type": "array", "prefixItems": [_kind(one) for one in inner], "items": False,
            "minItems": len(inner),
        }  # fmt: skip
    if origin is list:
        return {"type": "array", "items": _kind(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _kind(inner[1])}
    return {"type": PLAIN[kind]}


if __name__ == "__main__":
    main()
