"""What CONTRIBUTING.md says on adding things is done here, with its own code."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tutelage as tu
from problems import task
from tutelage import cli
from tutelage.data.part import Part
from tutelage.data.source import READERS
from tutelage.decisions.warnings import RULES, Facts, rule
from tutelage.kernels import Kernel
from tutelage.progress import Progress
from tutelage.students import Start

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
KNOWN = {
    "Any": Any,
    "Callable": Callable,
    "Facts": Facts,
    "Iterator": Iterator,
    "Kernel": Kernel,
    "Mapping": Mapping,
    "Part": Part,
    "Path": Path,
    "Progress": Progress,
    "READERS": READERS,
    "Sequence": Sequence,
    "Start": Start,
    "Tensor": Tensor,
    "dataclass": dataclass,
    "np": np,
    "rule": rule,
    "torch": torch,
}


def added(title):
    """Run the code under a title of CONTRIBUTING.md, and give what it defines."""
    section = TEXT[TEXT.index(f"### {title}") :]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    space = dict(KNOWN, __name__=__name__)
    exec(code, space)
    return space


def test_a_student_that_is_added_is_planned_for(tmp_path):
    student = added("Adding a student")["Fitted"](tu.kernels.mlp(depth=1))
    problem = task(n=120, m=60)
    grid = {"soft_ratio": [0.3, 1.0], "temperature": [1.0, 4.0], "orderings": 2}
    made = tu.plan(problem, student=student, **grid)
    assert made.student == "fitted"
    assert made.curves.n.values.min() >= 30
    dask = tu.curves(problem, student, **grid, scale=tu.Scale("dask"))
    for name in ("error", "transfer_risk", "decision_loo"):
        np.testing.assert_allclose(dask[name].values, made.curves[name].values, atol=1e-12)
    # By hand: what is fitted, and on top of it the kernel's solution, (3.7).
    pool, test = problem.inputs(torch.float64)
    order = torch.as_tensor(np.random.default_rng([0, 0]).permutation(120))
    teacher = torch.as_tensor(problem.teacher_logits_train)
    weights = torch.linalg.lstsq(pool[order], teacher[order]).solution
    start, on_test = (x @ weights - (x @ weights).mean(1, keepdim=True) for x in (pool, test))
    target = tu.effective_logits(
        teacher, torch.as_tensor(problem.y_train), soft_ratio=0.3, temperature=1.0
    )
    kernel = tu.kernels.mlp(depth=1)
    theta = kernel(pool) + float(made.curves.jitter[0]) * torch.eye(120)
    logits = on_test + kernel(pool, test).mT @ torch.linalg.solve(theta, target - start)
    decided = made.curves.decision.sel(soft_ratio=0.3, temperature=1.0).isel(start=0).values
    assert np.array_equal(decided, logits.argmax(1).numpy())


def test_a_reader_that_is_added_reads_a_pool(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(READERS, ".csv", None)
    added("Adding a reader")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    z = np.stack([3 * x[:, 0], -3 * x[:, 0]], 1)
    y = (x[:, 0] + x[:, 1] / 2 < 0).astype(int)
    header = "x0,x1,x2,z0,z1,y"
    table = np.column_stack([x, z, y])
    np.savetxt(tmp_path / "pool.csv", table, delimiter=",", header=header, comments="")
    folder = tmp_path / "pool"
    folder.mkdir()
    for name, values in {"x_train": x, "teacher_logits_train": z, "y_train": y}.items():
        np.save(folder / f"{name}.npy", values)
    grid = {"soft_ratio": [0.3, 1.0], "temperature": [1.0], "features": 50, "student": "mlp"}
    found, expected = (tu.plan(tu.open_source(p), **grid) for p in (tmp_path / "pool.csv", folder))
    assert found.recommended.error == pytest.approx(expected.recommended.error)
    code = cli.run(
        ["plan", str(tmp_path / "pool.csv"), "--features", "50", "--out", str(tmp_path / "out")]
    )
    assert code == 0
    assert "soft ratio" in capsys.readouterr().out


def test_a_rule_that_is_added_warns_in_plan_terminal_and_report(tmp_path):
    before = list(RULES)
    try:
        added("Adding a rule")
        problem = task(n=80, m=40, n_classes=3)
        y = np.where(problem.y_train == 2, 0, problem.y_train)
        lacking = tu.Task(problem.x_train, problem.teacher_logits_train, y)
        grid = {"soft_ratio": [0.3, 1.0], "temperature": [1.0], "orderings": 1}
        sentence = "No sample of the pool has class 2: of it only the teacher can tell."
        made = tu.plan(lacking, student="mlp", **grid)
        assert sentence in made.warnings
        assert sentence in " ".join(made.summary().split())
        made.save(tmp_path)
        assert sentence in (tmp_path / "report.html").read_text()
        assert sentence not in tu.plan(problem, student="mlp", **grid).warnings
    finally:
        RULES[:] = before
