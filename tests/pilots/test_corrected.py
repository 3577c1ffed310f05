"""Plans within a budget, end to end."""

import json
from contextlib import contextmanager

import numpy as np
import pytest

import tutelage as tu
from problems import task, untimed
from tutelage import cli
from tutelage.exceptions import SettingError

GRID = {"soft_ratio": [0.1, 0.6, 1.0], "temperature": [1.0, 4.0]}
QUICK = tu.lab.Training(3, 0.05, 16)


def problem(**changes):
    return task(**{"n": 240, "m": 150, "noise": 0.5} | changes)


def student(**changes):
    given = {"training": QUICK, "epochs": 60} | changes
    return tu.lab.student("mlp:width=16,depth=1", **given)


def planned(given=None, **options):
    return tu.plan(given or problem(), student=student(), **GRID, **options)


def test_the_same_plan_comes_out_twice_and_says_what_it_cost():
    one, two = planned(regret=0), planned(regret=0)
    assert untimed(one.as_dict()) == untimed(two.as_dict())
    cost = one.cost
    assert cost.pilots
    assert cost.trainings <= 1
    assert cost.features == "exact"
    assert cost.expected_regret >= 0
    assert cost.predicted_seconds > 0
    for pilot in cost.pilots:
        assert pilot.soft_ratio in GRID["soft_ratio"]
        assert pilot.temperature in GRID["temperature"]
        assert pilot.n in (240, 60)
        assert 0 <= pilot.predicted <= 1
        assert 0 <= pilot.real <= 1
    assert {s.soft_ratio for s in one.settings} == set(GRID["soft_ratio"])
    assert one.curves.attrs["budget"] == 1
    assert any(note.startswith("Theory alone, on 120 of 240 samples: ρ = ") for note in one.notes)
    assert any("pilots of " in note or "no pilot was worth" in note for note in one.notes)


def test_the_cost_is_told_before_it_is_paid():
    told = []

    @contextmanager
    def progress(name, total):
        told.append(name)
        yield lambda steps: None

    made = planned(regret=0, progress=progress)
    line = next(name for name in told if name.startswith("240 samples: theory on 120 of them"))
    assert line.endswith(f"about {made.cost.predicted_seconds:.0f} s")
    assert told.index(line) < told.index("training")
    assert "pilots" in told[told.index(line) :]


def test_curves_reach_the_whole_pool_and_say_how_sure_they_are():
    made = planned(regret=0)
    curves = made.curves
    assert curves.n.values.tolist() == [60, 120, 240]
    assert np.isfinite(curves.error.values[..., -1]).all()
    assert (curves.error_se.values > 0).all()
    assert curves.error_covariance.shape == (6, 6)
    assert np.allclose(
        np.diag(curves.error_covariance), curves.error_se[..., -1].values.ravel() ** 2
    )
    best = min(made.settings, key=lambda s: s.error)
    assert made.recommended.error == best.error
    assert best.error_linearised is not None
    assert made.samples.sizes == [60, 120, 240]


def test_a_plan_within_a_budget_comes_back_from_its_folder(tmp_path):
    problem().save(tmp_path / "task.npz")
    made = planned(tu.Task.load(tmp_path / "task.npz"))
    made.save(tmp_path / "plan")
    again = tu.Plan.load(tmp_path / "plan")
    assert again.as_dict() == made.as_dict()
    made.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Pilots" in page


def test_pilots_of_checkpoints_are_taught_by_the_chosen_one():
    made = planned(problem(epochs=[1, 9]), budget=1)
    assert made.curves.sizes["epoch"] == 2
    assert np.isfinite(made.curves.error.values[..., -1]).all()
    assert made.teacher.recommended_epoch in (1, 9)


def test_without_a_budget_theory_is_alone():
    made = planned(budget=0)
    assert made.cost.pilots == []
    assert made.cost.trainings is None
    assert made.curves.n.values[-1] == 240
    assert "error_se" not in made.curves


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": -1}, "budget is -1; expected a number of 0 or more"),
        ({"budget": float("nan")}, "budget is nan; expected a number of 0 or more"),
        ({"regret": "low"}, "regret is 'low'; expected a number of 0 or more"),
        ({"budget": 2, "sizes": [100]}, "A budget for pilots was given, and sizes ask for theory"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(options, message):
    with pytest.raises(SettingError, match=message):
        planned(**options)


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem().save("task.npz")
    given = ["plan", "task.npz", "--student", "mlp:width=16,depth=1", "--epochs", "60"]
    given += ["--warm-epochs", "3", "--learning-rate", "0.05", "--soft-ratio", "0.1,0.6,1"]
    given += ["--temperature", "1,4"]
    assert cli.run([*given, "--budget", "1", "--regret", "0", "--json", "--out", "found"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    cost = document["cost"]
    assert cost["trainings"] <= 1
    assert f"at the cost of {cost['trainings']:.2g} trainings of the student." in err
    for wrong, message in (
        (["--budget", "-1"], "budget"),
        (["--budget", "1", "--student", "mlp"], "only networks of finite width are trained"),
        (["--budget", "1", "--sizes", "60,240"], "sizes ask for theory on the whole pool"),
    ):
        assert cli.run([*given, *wrong]) == 2, wrong
        assert message in capsys.readouterr().err
