"""Plans within a budget, end to end."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

import tutelage as tu
from problems import task, untimed
from tutelage import cli
from tutelage.exceptions import SettingError

GRID = {"soft_ratio": [0.1, 0.6, 1.0], "temperature": [1.0, 4.0]}
QUICK = tu.lab.Training(3, 0.05, 16)


def problem(**changes):
    """A fifth of all labels are drawn again, so that errors are not small."""
    given = task(**{"n": 240, "m": 150, "noise": 0.5} | changes)
    rng, labels = np.random.default_rng(0), []
    for known in (given.y_train, given.y_test):
        drawn = rng.integers(0, known.max() + 1, len(known))
        labels.append(np.where(rng.random(len(known)) < 0.2, drawn, known))
    return replace(given, y_train=labels[0], y_test=labels[1])


def student(**changes):
    given = {"training": QUICK, "epochs": 60} | changes
    return tu.lab.student("mlp:width=16,depth=1", **given)


def planned(given=None, **options):
    return tu.plan(given or problem(), student=student(), **GRID, **options)


def test_a_pool_without_labels_is_planned_within_a_budget():
    made = planned(replace(problem(), y_train=None))
    assert made.curves.attrs["budget"] == 1
    assert 0 < made.cost.trainings <= 1
    assert {s.soft_ratio for s in made.settings} == {1.0}
    assert made.samples.sizes == [30, 60, 120, 240]
    assert all(0 < error < 1 for error in made.samples.error)
    assert (np.diff(made.curves.error.values, axis=-1) <= 0).all()
    assert made.teacher.wrong_labels is None
    assert made.recommended.gain_over_labels is None


def test_the_same_plan_comes_out_twice_and_says_what_it_cost():
    one, two = planned(regret=0), planned(regret=0)
    assert untimed(one.as_dict()) == untimed(two.as_dict())
    cost = one.cost
    assert cost.pilots
    assert cost.trainings <= 1
    assert cost.features == "exact"
    assert cost.expected_regret >= 0
    assert cost.regret_high >= 0
    assert cost.predicted_seconds > 0
    for pilot in cost.pilots:
        assert pilot.soft_ratio in GRID["soft_ratio"]
        assert pilot.temperature in GRID["temperature"]
        assert (pilot.n, pilot.epochs) in ((240, 60), (180, 20))
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
    assert curves.n.values.tolist() == [30, 60, 120, 240]
    assert np.isfinite(curves.error.values[..., -1]).all()
    assert (curves.error_se.values > 0).all()
    assert curves.error_covariance.shape == (6, 6)
    error = curves.error[0, ..., -1].values.ravel()
    share = np.clip(error, 0.5 / 150, 1)
    sampled = share * (1 - share) / 150  # the test part's own noise
    total = np.diag(curves.error_covariance) + sampled
    assert np.allclose(total, curves.error_se[..., -1].values.ravel() ** 2)
    best = min(made.settings, key=lambda s: s.error)
    assert made.recommended.error == best.error
    assert best.error_linearised is not None
    assert made.samples.sizes == [30, 60, 120, 240]
    assert made.samples.next_1000 is not None


def test_a_plan_within_a_budget_comes_back_from_its_folder(tmp_path):
    problem().save(tmp_path / "task.npz")
    made = planned(tu.Task.load(tmp_path / "task.npz"))
    made.save(tmp_path / "plan")
    again = tu.Plan.load(tmp_path / "plan")
    assert again.as_dict() == made.as_dict()
    made.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Pilots" in page


@pytest.mark.parametrize("seed", range(4))
def test_pilots_of_checkpoints_are_taught_by_the_one_that_is_recommended(seed):
    made = planned(problem(epochs=[1, 9], seed=seed), budget=1, regret=0, orderings=1)
    curves = made.curves
    assert curves.sizes["epoch"] == 2
    assert np.isfinite(curves.error.values[..., -1]).all()
    assert made.teacher.recommended_epoch == (1, 9)[curves.attrs["taught_by"]]


@pytest.mark.parametrize("epoch", [0, 1])
def test_what_taught_the_pilots_is_recommended_whatever_is_found_now(epoch):
    given = problem(epochs=[1, 9])
    curves = planned(given, orderings=1).curves.assign_attrs(taught_by=epoch)
    assert tu.plan(given, curves=curves).teacher.recommended_epoch == (1, 9)[epoch]


@pytest.mark.parametrize(
    "changes", [{}, {"n_classes": 2}, {"n": 160}], ids=["plain", "binary", "small"]
)
def test_a_pilot_may_be_of_the_whole_pool(changes):
    made = planned(problem(**changes), budget=6, regret=0)
    whole = [pilot for pilot in made.cost.pilots if pilot.n == made.task["n_train"]]
    assert whole
    assert made.cost.trainings <= 6


def test_without_logits_of_the_test_part_disagreement_stays_that_of_theory():
    given = replace(problem(), teacher_logits_test=None)
    made = planned(given, budget=3, regret=0)
    assert made.cost.pilots
    assert "transfer_risk_se" not in made.curves
    assert made.recommended.transfer_risk is None
    assert np.isfinite(made.curves.error.values[..., -1]).all()


def test_settings_that_are_equal_are_not_told_apart_by_their_order():
    x = np.random.default_rng(0).normal(size=(400, 3)) + 6 * np.repeat([[1.0], [-1.0]], 200, 0)
    order = np.random.default_rng(1).permutation(400)
    x, logits = x[order], 4 * x[order][:, 0]
    labels = (logits > 0).astype(int)
    given = tu.Task(x[:200], logits[:200], labels[:200], x[200:], logits[200:], labels[200:])
    best = planned(given, regret=0).recommended
    assert best.verdict == "flat"
    assert best.error == 0
    assert best.temperature == 4


def noise(seed):
    """Nothing to learn: all settings err on two thirds."""
    rng = np.random.default_rng(seed)
    x, logits = rng.normal(size=(300, 5)), rng.normal(size=(300, 3))
    labels = rng.integers(0, 3, 300)
    return tu.Task(x[:240], logits[:240], labels[:240], x[240:], logits[240:], labels[240:])


def test_what_is_noise_is_not_taken_for_a_difference():
    found = [planned(noise(seed)).recommended for seed in range(6)]
    assert sum(best.verdict == "flat" for best in found) >= 2
    assert all(0.055 < best.error_se < 0.08 for best in found)  # 60 samples: 0.061 at least


def test_networks_in_double_precision_have_pilots():
    def double(input_shape, n_outputs):
        layers = nn.Linear(*input_shape, 8), nn.Tanh(), nn.Linear(8, n_outputs)
        return nn.Sequential(*layers).double()

    own = tu.lab.TorchStudent(double, "double", training=QUICK, epochs=60)
    made = tu.plan(problem(), student=own, **GRID, regret=0)
    assert made.cost.pilots


def test_where_there_is_no_room_for_pilots_the_plan_says_so():
    made = tu.plan(problem(), student=student(), budget=0.2, **GRID)
    assert made.cost.pilots == []
    assert any("the budget of 0.2 trainings had no room for pilots" in note for note in made.notes)


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
        ({"budget": 2, "sizes": np.array([60])}, "and sizes ask for theory"),
        ({"budget": 0, "regret": 1}, "A regret to stop at was given, and a budget of 0 trains no"),
        ({"orderings": 0}, "0 orderings were asked for; expected at least 1"),
        ({"orderings": "3"}, "orderings is '3'; expected a whole number"),
        ({"seed": -1}, "seed is -1; expected a whole number of 0 or more"),
        ({"t_power": 3}, "3"),
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
    assert f"as many operations as {cost['trainings']:.2g} trainings" in err.replace("\n", " ")
    for wrong, message in (
        (["--budget", "-1"], "budget"),
        (
            ["--budget", "1", "--student", "mlp"],
            "--learning-rate is for networks, such as mlp:width",
        ),
        (["--budget", "1", "--sizes", "60,240"], "sizes ask for theory on the whole pool"),
    ):
        assert cli.run([*given, *wrong]) == 2, wrong
        assert message in capsys.readouterr().err


def test_wrong_labels_make_errors_unsure_and_move_none(monkeypatch):
    """Standard errors know that students memorise more or less than others did."""
    wrong = problem()
    flipped = np.random.default_rng(1).random(240) < 0.3
    labels = np.where(flipped, (wrong.y_train + 1) % 3, wrong.y_train)
    made = planned(replace(wrong, y_train=labels), regret=0)
    monkeypatch.setattr("tutelage.theory.pilots.MEMORISED_UNSURE", 0.0)
    plain = planned(replace(wrong, y_train=labels), regret=0)
    assert np.array_equal(made.curves.error, plain.curves.error)
    wider = (made.curves.error_se - plain.curves.error_se).isel(n=-1)
    assert (wider > 0.0005).all()  # what pilots at low soft ratios tell of others is less, too
