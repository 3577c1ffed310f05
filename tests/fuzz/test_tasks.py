"""Whatever people feed it: a plan, or one sentence of what is wrong."""

import json
import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from soaking import examples

import tutelage as tu
from tutelage.exceptions import TutelageError

SHAPES = [
    (1,),
    (2,),
    (5,),
    (64,),
    (6, 6),
    (3, 8),
    (5, 5, 3),
    (1, 6, 6),
    (3, 6, 6),
    (4, 3, 2),
    (5, 5, 5, 1),
    (2, 2, 2, 2, 2),
]
KERNELS = [
    tu.kernels.mlp(depth=1), tu.kernels.mlp(depth=0), tu.kernels.mlp(depth=3, activation="erf"),
    tu.kernels.mlp(depth=1, bias_var=0.0),
]  # fmt: skip


def values(rng, shape, kind):
    """Inputs of a kind."""
    x = rng.normal(size=shape)
    if kind == "constant columns":
        x[..., ::2] = 1
    elif kind == "constant":
        x[:] = 3
    elif kind == "nearly constant":
        x = 1 + 1e-9 * x
    elif kind == "huge":
        x *= 1e30
    elif kind == "tiny":
        x *= 1e-30
    elif kind == "duplicates":
        x = x[rng.integers(0, max(1, len(x) // 3), len(x))]
    elif kind == "near duplicates":
        x = x[rng.integers(0, max(1, len(x) // 2), len(x))] * (1 + 1e-7 * x)
    elif kind == "whole numbers":
        x = (10 * x).round()
    elif kind == "units":
        x *= 10.0 ** rng.integers(-5, 5, shape[1:])
    elif kind == "outlier":
        x.flat[0] = 1e12
    elif kind == "not finite":
        x.flat[rng.integers(x.size)] = rng.choice([np.nan, np.inf, -np.inf])
    elif kind == "zeros":
        x[:] = 0
        x.flat[0] = 1
    return x


def logits(rng, truth, kind):
    """Teacher logits of a kind."""
    z = 2 * truth + rng.normal(size=truth.shape)
    if kind == "huge":
        z *= 1e4
    elif kind == "too large":
        z *= 1e9
    elif kind == "tiny":
        z *= 1e-9
    elif kind == "saturated":
        z = np.sign(z) * 1e6
    elif kind == "constant":
        z[:] = 1
    elif kind == "ties":
        z = z.round()
    elif kind == "masked" and z.ndim > 1 and z.shape[-1] > 1:
        keep = min(2, z.shape[-1] - 1)
        z = np.where(
            z < np.sort(z, -1)[..., -keep:].min(-1, keepdims=True),
            rng.choice([-1e4, -100, -np.inf]),
            z,
        )
    elif kind == "probabilities":
        z = 1 / (1 + np.exp(-z))
    elif kind == "log-probabilities" and z.ndim > 1:
        z -= np.log(np.exp(z).sum(-1, keepdims=True))
    elif kind == "one class":
        z = np.abs(z)
        z[..., 0] += 30
    elif kind == "not finite":
        z.flat[rng.integers(z.size)] = rng.choice([np.nan, np.inf])
    return z


def labels(rng, truth, kind):
    """Labels of a kind."""
    y = (
        truth.argmax(-1)
        if truth.ndim > 1 and truth.shape[-1] > 1
        else (truth.reshape(len(truth)) > 0).astype(int)
    )
    if kind == "noise":
        y = rng.integers(0, y.max() + 1, len(y))
    elif kind == "one class":
        y[:] = 0
    elif kind == "rare":
        y = (np.arange(len(y)) == 0).astype(int)
    elif kind == "in a column":
        y = y[:, None]
    elif kind == "one-hot":
        y = np.eye(max(2, y.max() + 1))[y]
    elif kind == "soft":
        y = np.full((len(y), 3), 1 / 3)
    elif kind == "floats":
        y = y + 0.0
    elif kind == "fractions":
        y = y + 0.5
    elif kind == "not labelled":
        y[::3] = -100
    elif kind == "out of range":
        y[-1] = 99
    elif kind == "strings":
        y = y.astype(str)
    return y


def stored(array, how, rng):
    """The same values laid out otherwise."""
    if array is None:
        return None
    if how == "reversed":
        return array[::-1].copy()[::-1]
    if how == "strided":
        wide = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)
        wide[::2] = array
        return wide[::2]
    if how == "Fortran":
        return np.asfortranarray(array)
    if how == "read-only":
        array = array.copy()
        array.setflags(write=False)
        return array
    if how == "big-endian" and array.dtype.kind in "fiu":
        return array.astype(array.dtype.newbyteorder(">"))
    if how == "list":
        return array.tolist()
    if how == "tensor" and array.dtype.kind in "fiub":
        return torch.as_tensor(np.ascontiguousarray(array)).requires_grad_(array.dtype.kind == "f")
    if (
        how in ("float16", "bfloat16", "float32", "uint8", "int32", "bool")
        and array.dtype.kind == "f"
    ):
        with np.errstate(all="ignore"):
            if how == "bfloat16":
                return torch.as_tensor(np.ascontiguousarray(array)).to(torch.bfloat16)
            return (
                np.nan_to_num(array).astype(how)
                if how in ("uint8", "int32", "bool")
                else array.astype(how)
            )
    return array


LAYOUTS = [
    "as it is",
    "reversed",
    "strided",
    "Fortran",
    "read-only",
    "big-endian",
    "list",
    "tensor",
    "float16",
    "bfloat16",
    "float32",
    "uint8",
    "int32",
    "bool",
]
INPUTS = [
    "constant columns",
    "constant",
    "nearly constant",
    "huge",
    "tiny",
    "duplicates",
    "near duplicates",
    "whole numbers",
    "units",
    "outlier",
    "not finite",
    "zeros",
]
LOGITS = [
    "huge",
    "too large",
    "tiny",
    "saturated",
    "constant",
    "ties",
    "masked",
    "probabilities",
    "log-probabilities",
    "one class",
    "not finite",
]
LABELS = [
    "noise",
    "one class",
    "rare",
    "in a column",
    "one-hot",
    "soft",
    "floats",
    "fractions",
    "not labelled",
    "out of range",
    "strings",
    None,
]


class Chance:
    """Draws that a seed decides; what is odd comes now and then."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def of(self, options):
        return options[self.rng.integers(len(options))]

    def odd(self, options, share=0.15, usual="normal"):
        return self.of(options) if self.rng.random() < share else usual


def task_of(seed):
    """The arguments of a task."""
    chance = Chance(seed)
    rng = chance.rng
    n, m = chance.odd([1, 2, 3], usual=int(rng.integers(4, 41))), chance.of([0, 0, 1, 2, 15])
    shape, classes = (
        chance.odd(SHAPES, 0.4, usual=(5,)),
        chance.odd([2, 6, 70], 0.3, usual=chance.of([0, 1, 3])),
    )
    x = values(rng, (n + m, *shape), chance.odd(INPUTS, 0.3))
    if m and rng.random() < 0.1:
        x[n:] = x[rng.integers(0, n, m)] if rng.random() < 0.5 else 255 * x[n:]
    flat = np.nan_to_num(x.reshape(n + m, -1), posinf=0, neginf=0)
    flat = flat / (np.abs(flat).max() or 1)
    truth = flat @ rng.normal(size=(flat.shape[1], max(1, classes)))
    truth = truth if classes else truth[:, 0]
    epochs, kind = chance.odd([[3], [1, 2, 7]], usual=None), chance.odd(LOGITS, 0.3)
    z = np.stack([logits(rng, truth, kind) for _ in epochs or [0]])
    z = z if epochs else z[0]
    y = None if (which := chance.odd(LABELS)) is None else labels(rng, truth, which)

    def lay(array):
        return stored(array, chance.odd(LAYOUTS, 0.25), rng)

    train, test = slice(0, n), slice(n, None)
    of = (lambda part: z[:, part]) if epochs else (lambda part: z[part])
    given = {
        "x_train": lay(x[train]),
        "teacher_logits_train": lay(of(train)),
        "y_train": None if y is None else lay(y[train]),
    }
    if m:
        given["x_test"] = lay(x[test])
        given |= {"teacher_logits_test": lay(of(test))} if rng.random() < 0.8 else {}
        given |= {"y_test": lay(y[test])} if y is not None and rng.random() < 0.8 else {}
    if epochs:
        given["teacher_epochs"] = np.array(epochs)
    usual = "channels_first" if len(shape) > 2 and shape[0] in (1, 3) else None
    layout = chance.odd([None, "channels_last", "channels_first"], usual=usual)
    return given if layout is None else given | {"image_layout": layout}


def grid_of(seed):
    """The arguments of curves."""
    chance = Chance(seed)
    rng = chance.rng
    grid = {
        "soft_ratio": rng.choice([1e-3, 0.1, 0.5, 0.9, 1.0], rng.integers(1, 4)).tolist(),
        "temperature": rng.choice([0.05, 0.5, 1.0, 4.0, 100.0], rng.integers(1, 3)).tolist(),
        "t_power": chance.of([0, 2]),
        "orderings": chance.of([1, 2]),
        "seed": int(rng.integers(6)),
        "dtype": chance.of(["float64", "float64", "float32"]),
        "standardise": chance.of([True, True, False]),
    }
    return grid | (
        {"sizes": rng.integers(2, 12, rng.integers(4)).tolist()} if rng.random() < 0.5 else {}
    )


def assert_whole(plan, task):
    """Every number there, or absent for the reason that the contract names."""
    document = json.loads(plan.to_json())
    labelled = task.y_train is not None or task.y_test is not None
    unlabelled = {"error", "error_se", "error_prequential", "error_loo", "balanced_error"}
    for setting in document["settings"]:
        for name, value in setting.items():
            if value is None:
                assert name in unlabelled | {"transfer_risk", "error_linearised"}, name
                assert (
                    name not in ("error", "error_se", "balanced_error")
                    or not labelled
                    or plan.error_from == "test part"
                )
            else:
                assert math.isfinite(value), name
        for name in unlabelled | {
            "transfer_risk",
            "expected_transfer_risk",
            "risk_bound",
            "power_bound",
            "certified_fraction",
        }:
            assert setting[name] is None or -1e-12 <= setting[name] <= 1 + 1e-9, (
                name,
                setting[name],
            )
        assert setting["power_bound"] <= setting["risk_bound"] + 1e-9
    best = document["recommended"]
    assert [best["soft_ratio"], best["temperature"]] in [
        [s["soft_ratio"], s["temperature"]] for s in document["settings"]
    ]
    assert document["samples"]["sizes"][-1] == task.n_train
    assert all(
        isinstance(sentence, str) and sentence.endswith((".", ".)"))
        for sentence in document["warnings"]
    )


@given(seed=st.integers(0, 2**62))
@examples(300, 20_000)
def test_a_plan_or_a_sentence(tmp_path_factory, seed):
    chance = Chance([seed, 1])
    try:
        task = tu.Task(**task_of(seed))
        curves = tu.curves(task, chance.of(KERNELS), **grid_of([seed, 2]))
        plan = tu.plan(task, curves=curves, target_error=chance.of([None, 0.1]))
    except TutelageError as error:
        said = str(error)
        assert "\n" not in said, said
        assert said.endswith((".", ".)")), said
        assert len(said) < 900, said
        assert "nan" not in said.split(), said
        return
    assert_whole(plan, task)
    if chance.rng.random() < 0.05:
        plan.to_html(tmp_path_factory.getbasetemp() / "report.html")
