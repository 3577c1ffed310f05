"""The one call and what it gives: plan(task, student=...), load, save, summary, predict."""

import ast
import dataclasses
import doctest
import importlib
import inspect
import itertools
import json
import re
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

import tutelage as tu
from problems import task
from tutelage.devices import found_device
from tutelage.exceptions import SettingError, StudentError, TaskError
from tutelage.solve.device import OnDevice
from tutelage.solve.pool import DensePool
from tutelage.theory.factor import factor

GRID = {"soft_ratio": [0.2, 1.0], "temperature": [1.0, 4.0]}
QUICK = tu.lab.Training(3, 0.05, 16)


def network(input_shape, n_outputs):
    return nn.Sequential(nn.Linear(*input_shape, 8), nn.Tanh(), nn.Linear(8, n_outputs))


@pytest.mark.parametrize(
    "student",
    [
        "mlp:depth=1",
        tu.kernels.mlp(depth=1),
        "mlp:width=8,depth=1",
        network,
        network((5,), 3),
        tu.lab.TorchStudent(network, "mine", training=QUICK, epochs=4),
    ],
    ids=["SPEC", "kernel", "SPEC of a network", "factory", "module", "student"],
)
def test_every_kind_of_student_is_planned_for_in_one_call(student):
    problem = task(n=60, m=40)
    made = tu.plan(problem, student=student, **GRID, orderings=1, target_error=0.3)
    assert made.made_for.target_error == 0.3
    assert len(made.settings) == 4
    assert made.predict(problem.x_test).shape == (40, 3)


def test_a_plan_is_that_of_its_curves():
    problem = task(n=60, m=40)
    made = tu.plan(problem, student="mlp:depth=1", **GRID, seed=3)
    curves = tu.curves(problem, "mlp:depth=1", **GRID, seed=3)
    again = tu.plan(problem, curves=curves)
    timeless = [dataclasses.replace(p, seconds=0, cost=None) for p in (again, made)]
    assert timeless[0] == timeless[1]


def test_a_plan_is_saved_and_loaded(tmp_path):
    task(n=60, m=40, epochs=[1, 5]).save(tmp_path / "t.npz")
    problem = tu.Task.load(tmp_path / "t.npz")
    made = tu.plan(problem, student="mlp:width=8,depth=1", **GRID, orderings=2, target_error=0.2)
    made.save(tmp_path / "plan")
    assert {p.name for p in (tmp_path / "plan").iterdir()} == {
        "plan.json", "curves.nc", "report.html", "suspect_labels.csv",
    }  # fmt: skip
    again = tu.Plan.load(tmp_path / "plan")
    assert again == made
    assert again.to_json() == made.to_json()
    again.to_html(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == (tmp_path / "plan/report.html").read_text()
    np.testing.assert_allclose(
        again.predict(problem.x_test), made.predict(problem.x_test), atol=1e-9
    )
    with pytest.raises(SettingError, match="The curves are of another task"):
        tu.Plan.load(tmp_path / "plan", task=task(n=60, m=40))
    (tmp_path / "t.npz").unlink()
    with pytest.raises(TaskError, match=r"The task of the plan in .* is not at .*; give it"):
        tu.Plan.load(tmp_path / "plan")
    assert tu.Plan.load(tmp_path / "plan", task=problem) == made


def test_a_plan_says_itself_in_a_few_lines():
    made = tu.plan(task(n=60, m=40), student="mlp:depth=1", **GRID, orderings=1)
    assert re.fullmatch(
        r"Plan\(soft_ratio=[\d.]+, temperature=[\d.]+, error=[\d.]+ %, verdict='[\w ]+',\n"
        r"     student='mlp:depth=1[^']*', n_train=60, 4 settings\)",
        repr(made),
    )
    assert made.recommended.why[:30] in " ".join(made.summary().split())
    assert "\x1b" not in made.summary()


def test_predicted_logits_are_those_that_the_decisions_are_of():
    for classes in (2, 3):
        problem = task(n=60, m=40, n_classes=classes)
        for student in ("mlp:depth=1", tu.lab.TorchStudent(network, "n", training=QUICK, epochs=4)):
            made = tu.plan(problem, student=student, **GRID, orderings=1)
            best = made.recommended
            logits = made.predict(problem.x_test)
            decided = made.curves.decision.isel(start=0).sel(
                soft_ratio=best.soft_ratio, temperature=best.temperature
            )
            given = (logits[:, 0] > 0) if classes == 2 else logits.argmax(1)
            assert np.array_equal(given, decided.values)
            wrong = (given != problem.y_test).mean()
            assert wrong == pytest.approx(best.error)


def test_predictions_are_of_the_start_that_the_plan_is_of():
    """A warm start imitates the last epoch, whichever is recommended."""
    problem = task(n=80, m=60, epochs=[1, 5])
    student = tu.lab.TorchStudent(network, "n", training=QUICK, epochs=6)
    for index in (0, 1):
        made = tu.plan(problem, student=student, **GRID, orderings=1)
        best = made.recommended
        epoch = int(problem.teacher_epochs[index])
        made = dataclasses.replace(
            made, teacher=dataclasses.replace(made.teacher, recommended_epoch=epoch)
        )
        decided = made.curves.decision.isel(start=0).sel(
            epoch=epoch, soft_ratio=best.soft_ratio, temperature=best.temperature
        )
        assert np.array_equal(made.predict(problem.x_test).argmax(1), decided.values)


def test_a_network_is_trained_as_the_call_says():
    problem = task(n=60, m=40)
    given = {"learning_rate": 0.03, "epochs": 7, "batch_size": 16}
    made = tu.plan(problem, student="mlp:width=8,depth=1", **given, **GRID, orderings=1)
    known = made.made_for
    assert (known.learning_rate, known.epochs, known.batch_size) == (0.03, 7, 16)
    assert known.learning_rate_given


def test_a_start_is_trained_for_no_longer_than_the_student():
    problem = task(n=60, m=40)
    short = tu.plan(problem, student="mlp:width=8,depth=1", epochs=2, **GRID, orderings=1)
    [note] = [n for n in short.notes if "The warm start was trained for" in n]
    assert int(re.search(r"trained for (\d+) epochs", note)[1]) <= 2


@pytest.mark.parametrize(
    "x", [np.ones((3, 4)), np.ones(5), [[1.0]], "x", {"a": np.ones((3, 5))}, np.ones((0, 5))]
)
def test_inputs_that_are_not_the_tasks_are_said(x):
    made = tu.plan(task(n=60, m=40), student="mlp:depth=1", **GRID, orderings=1)
    with pytest.raises(TaskError):
        made.predict(x)
    assert made.predict(torch.zeros(2, 5)).shape == (2, 3)


def test_predictions_of_a_network_are_the_mean_over_its_starts():
    problem = task(n=60, m=40)
    student = tu.lab.TorchStudent(network, "n", training=QUICK, epochs=4)
    one, two = (
        tu.plan(problem, student=student, **GRID | {"temperature": [1.0]}, orderings=k)
        for k in (1, 2)
    )
    assert not np.allclose(one.predict(problem.x_test), two.predict(problem.x_test))


def test_the_teacher_of_the_recommended_epoch_is_followed():
    problem = task(n=60, m=40, epochs=[1, 5], labels=False)
    made = tu.plan(problem, student="mlp:depth=1", orderings=1)
    index = problem.teacher_epochs.tolist().index(made.teacher.recommended_epoch)
    logits = problem.teacher_logits_train[index]
    centred = logits - logits.mean(1, keepdims=True)
    np.testing.assert_allclose(made.predict(problem.x_train), centred, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda t: tu.plan(t, student="mlp", curves=tu.curves(t, "mlp", **GRID, orderings=1)),
            SettingError,
            "Curves were given, and student, which curves are computed for; give either",
        ),
        (lambda t: tu.plan(t, target_error=2.0), SettingError, "expected a share between 0 and 1"),
        (lambda t: tu.curves(t, "mlp", features=2.5), SettingError, "features is 2.5; expected a"),
        (lambda t: tu.curves(t, "mlp", features="exact"), SettingError, "features is 'exact'; ex"),
        (lambda t: tu.curves(t, "mlp", seed=-1), SettingError, "seed is -1; expected a whole num"),
        (lambda t: tu.curves(t, "mlp", scale="dask"), SettingError, "scale is 'dask'; expected a"),
        (lambda t: tu.curves(t, "mlp", progress=None), SettingError, "progress is None; expected"),
        (
            lambda t: tu.curves(t, "mlp", left_out=False),
            SettingError,
            "left_out is for features; g",
        ),
        (lambda t: tu.curves(t, "mlp", pool=99), SettingError, "99 samples of the pool were asked"),
        (
            lambda t: tu.plan(t, student="mlp", budget=1),
            SettingError,
            "A budget for pilots was giv",
        ),
        (lambda t: tu.plan(t, budget=-1), SettingError, "budget is -1; expected a number of 0 or"),
        (lambda t: tu.plan(t, regret="0"), SettingError, "regret is '0'; expected a number of 0 o"),
        (
            lambda t: tu.curves(t, "mlp", features=20, orderings=2),
            SettingError,
            "In features there is one pass over the samples, and orderings is for the exact path",
        ),
        (
            lambda t: tu.curves(t, "mlp", features=20, scale=tu.Scale("dask")),
            SettingError,
            "and a path of the scale is for the exact path",
        ),
        (
            lambda t: tu.plan(task(n=30, m=20), student="mlp", features=10),
            TaskError,
            "The pool has 30 samples; in features it needs 40 at least",
        ),
        (
            lambda t: tu.plan(t, student="mlp", features=20).predict(t.x_test),
            SettingError,
            "The plan was made in features, which keep no sample to predict from",
        ),
        (
            lambda t: tu.plan(
                tu.Task({"a": t.x_train}, t.teacher_logits_train, t.y_train), student="mlp"
            ),
            StudentError,
            "The task has inputs by name (a), and the student mlp:depth=3",
        ),
        (lambda t: tu.plan(t, student=3), StudentError, "The student is int; expected a kernel"),
        (
            lambda t: tu.plan(t, student=nn.Linear),
            StudentError,
            "The student is the class Linear; expected a kernel",
        ),
        (lambda t: tu.plan("t.npz"), SettingError, "The first argument is str; expected a tutel"),
        (lambda t: tu.curves(t, "mlp", device="tpu"), SettingError, "The device is 'tpu'; expect"),
    ],
)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error) as caught:
        call(task(n=60, m=40))
    assert message in str(caught.value)


def test_arguments_after_the_first_are_named():
    with pytest.raises(TypeError, match="positional"):
        tu.curves(task(), "mlp", [0.5])
    with pytest.raises(TypeError, match="positional"):
        tu.plan(task(), "mlp")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(SettingError, match="cuda was asked for, and torch sees no GPU here"):
        tu.curves(task(), "mlp", device="cuda")
    assert found_device("auto") == torch.device("cpu")


def test_a_factor_on_a_device_tells_what_the_factor_tells():
    x = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = factor(tu.kernels.mlp()(x))
    there = OnDevice(plain, torch.device("cpu"))
    rhs = torch.randn(40, 2, dtype=torch.float64)
    assert torch.equal(there.forward(rhs.clone()), plain.forward(rhs.clone()))
    assert torch.equal(there.backward(rhs.clone()), plain.backward(rhs.clone()))
    assert torch.equal(there.leading(7).diagonal, plain.diagonal[:7])
    assert torch.equal(
        there.inverse_diagonal(lambda *_: _quiet()), plain.inverse_diagonal(lambda *_: _quiet())
    )
    assert (len(there), there.jitter, there.redundant) == (40, plain.jitter, plain.redundant)


def _quiet():
    from contextlib import nullcontext

    return nullcontext(lambda _: None)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("student", ["mlp:depth=1", "mlp:width=16,depth=1"])
@pytest.mark.parametrize("features", [None, 40])
def test_a_gpu_finds_what_the_cpu_finds(student, features):
    problem = task(n=200, m=60)
    here, there = (
        tu.curves(problem, student, **GRID, orderings=1, features=features, device=d)
        for d in ("cpu", "cuda")
    )
    for name in ("error", "transfer_risk", "expected_transfer_risk"):
        np.testing.assert_allclose(there[name].values, here[name].values, atol=0.05)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_kernel_is_factored_on_the_gpu():
    x = torch.randn(50, 4, dtype=torch.float64)
    cuda = torch.device("cuda")
    opened = DensePool(tu.kernels.mlp(), x, None, torch.float64, lambda *_: _quiet(), cuda)
    assert isinstance(opened.factor(torch.arange(50), 0, last=True), OnDevice)


LATE = ["sklearn", "altair", "lightning", "transformers", "tutelage.lab.claims", "numba", "dask"]


def test_importing_loads_little():
    code = f"import sys, tutelage; print([m for m in {LATE} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="module 'tutelage' has no attribute 'plane'"):
        _ = tu.plane
    with pytest.raises(ModuleNotFoundError):
        import tutelage.curves  # noqa: F401
    assert json.dumps(sorted(tu.__all__, key=str.lower))


def public():
    """Every public class, function and union of classes, by its full name."""
    for path in ("tutelage", "tutelage.lab", "tutelage.kernels", "tutelage.students"):
        module = importlib.import_module(path)
        yield from ((f"{path}.{name}", getattr(module, name)) for name in module.__all__)
    for path in ("hf", "lightning", "datasets", "exceptions"):
        module = importlib.import_module(f"tutelage.{path}")
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) == module.__name__ and name[0] != "_":
                yield f"{module.__name__}.{name}", value


def under_layer():
    """What stands under `Layer`, a union, which has no docstring that pytest would run."""
    body = ast.parse(inspect.getsource(tu.kernels.layers)).body
    [said] = [
        after.value.value
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "Layer"
    ]
    return said


def test_every_public_name_has_an_example_that_runs():
    """Those of docstrings are run by pytest itself."""
    said = {
        name: under_layer() if value is tu.kernels.Layer else value.__doc__ or ""
        for name, value in public()
        if inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, types.UnionType)
    }
    assert len(said) > 80
    assert [name for name, text in said.items() if ">>>" not in text] == []
    example = doctest.DocTestParser().get_doctest(under_layer(), {}, "Layer", None, None)
    assert doctest.DocTestRunner().run(example) == (0, len(example.examples))
