import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_model
from torch import nn

import tutelage as tu
from problems import task
from tutelage.data.part import Part
from tutelage.exceptions import SettingError
from tutelage.lab import DistillationLoss, TorchStudent, Training, distil, verify
from tutelage.lab._verify import compare
from tutelage.train.training import train

QUICK = Training(epochs=2, learning_rate=0.05, batch_size=16)


def small(input_shape, n_outputs):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(input_shape)), 16), nn.Tanh(), nn.Linear(16, n_outputs)
    )


STUDENT = TorchStudent(small, "small", training=QUICK, epochs=3)


@pytest.fixture(scope="module")
def problem():
    return task(n=60, m=80)


@pytest.fixture(scope="module")
def plan(problem):
    return tu.plan(
        problem,
        curves=tu.curves(
            problem, STUDENT, soft_ratio=[0.2, 0.5, 1.0], temperature=[1.0, 4.0], orderings=2
        ),
    )


def test_a_student_is_trained_by_the_loss_of_its_setting(problem, tmp_path):
    found = distil(problem, STUDENT, [(0.3, 2.0)], seeds=1, seed=4, out=tmp_path)
    pool, test = problem.inputs(torch.float32)
    order = torch.as_tensor(np.random.default_rng([4, 0]).permutation(60))
    examples = Part(
        pool[order],
        torch.as_tensor(problem.teacher_logits_train)[order, None].float(),
        torch.as_tensor(problem.y_train)[order],
    )
    network = STUDENT.fresh(examples, 1400)
    train(
        network,
        examples,
        DistillationLoss(0.3, 2.0),
        Training(3, 0.05, 16, annealed=True),
        seed=1400,
    )
    with torch.no_grad():
        decided = network(test).argmax(1).numpy()
    assert np.array_equal(found.decision.squeeze().values, decided)
    assert float(found.error.squeeze()) == (decided != problem.y_test).mean()
    assert (
        float(found.transfer_risk.squeeze())
        == (decided != problem.teacher_decisions("test")[0]).mean()
    )
    kept = small((5,), 3)
    load_model(kept, tmp_path / "student-0.3-2-n60-seed0.safetensors")
    assert torch.equal(kept(test), network(test))


def test_students_differ_by_seed_and_setting_and_are_reproducible(problem):
    settings = [(0.0, 1.0), (1.0, 4.0)]
    first, again = (distil(problem, STUDENT, settings, sizes=[20, 60]) for _ in range(2))
    assert first.drop_vars("seconds").identical(again.drop_vars("seconds"))
    assert dict(first.error.sizes) == {"setting": 2, "n": 2, "seed": 2}
    decided = first.decision.isel(n=-1)
    assert not np.array_equal(decided[0, 0], decided[1, 0])
    assert not np.array_equal(decided[0, 0], decided[0, 1])
    assert first.attrs["learning_rate"] == 0.05
    assert first.attrs["epochs"] == 3


def test_the_learning_rate_is_found_once_for_all(problem):
    auto = dataclasses.replace(STUDENT, training=Training(batch_size=16))
    found = distil(problem, auto, [(0.2, 1.0), (1.0, 4.0)], seeds=1)
    assert 1e-4 < found.attrs["learning_rate"] < 3
    notes = tu.plan(
        problem, curves=tu.curves(problem, auto, soft_ratio=[0.2], temperature=[1.0], orderings=1)
    ).notes
    assert any(
        f"at a learning rate of {found.attrs['learning_rate']:.2g}, annealed" in note
        for note in notes
    )


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"test": False}, {}, "evaluated on a test part, which this task has not"),
        (
            {"labels": False},
            {},
            "has no labels .y_train., so that students can only be trained at a soft ratio of 1",
        ),
        ({}, {"seeds": 0}, "0 seeds were asked for"),
        ({}, {"sizes": [1]}, "they lie in 2 … 60"),
    ],
)
def test_what_cannot_be_trained_is_said(changes, arguments, message):
    with pytest.raises(SettingError, match=message):
        distil(task(n=60, m=40, **changes), STUDENT, [(0.2, 1.0)], **arguments)


def test_a_plan_is_compared_with_real_students(problem, plan):
    found, trained = verify(problem, plan, STUDENT, grid=True)
    best = (plan.recommended.soft_ratio, plan.recommended.temperature)
    settings = list(zip(trained.soft_ratio.values, trained.temperature.values, strict=True))
    assert set(settings) == {(r, t) for r in (0.2, 0.5, 1.0) for t in (1.0, 4.0)} | {
        (0.9, 4.0),
        (0.0, 1.0),
    }
    errors = trained.error.mean("seed").values[:, 0]
    assert found.regret == pytest.approx(errors[settings.index(best)] - errors.min())
    assert [row.real for row in found.rows] == pytest.approx(sorted(errors))
    [recommended] = [row for row in found.rows if "recommended" in row.role]
    assert (recommended.soft_ratio, recommended.temperature) == best
    assert recommended.predicted == plan.recommended.error
    [alone] = [row for row in found.rows if row.role == "labels only"]
    assert alone.predicted is None
    assert alone.within is None
    assert found.students == 2 * len(settings)
    assert json.loads(found.to_json())["regret"] == found.regret


def test_the_rank_correlation_is_of_the_plan_not_of_luck(problem, plan):
    """Students that err just as the plan says correlate by 1, and by -1 if they do the opposite."""
    order = sorted(plan.settings, key=lambda s: s.error)
    errors = {(s.soft_ratio, s.temperature): k for k, s in enumerate(order)}
    trained = distil(problem, STUDENT, list(errors), seeds=1)
    found = {}
    for sign in (1, -1):
        decided = np.tile(problem.y_test, (len(errors), 1, 1, 1)).astype(np.int16)
        for k, place in enumerate(errors.values()):
            wrong = place if sign > 0 else len(errors) - place
            decided[k, ..., :wrong] = (decided[k, ..., :wrong] + 1) % 3
        trained["decision"] = (trained.decision.dims, decided)
        found[sign] = compare(plan, trained, problem.y_test)
    ties = len({s.error for s in order}) < len(order)
    assert found[1].rank_correlation > (0.8 if ties else 0.999)
    assert found[-1].rank_correlation == pytest.approx(-found[1].rank_correlation, abs=0.1)
    assert found[1].regret <= found[-1].regret


def test_what_is_within_its_interval_is_said_and_what_is_not(problem, plan):
    settings = [(s.soft_ratio, s.temperature) for s in plan.settings]
    trained = distil(problem, STUDENT, settings, seeds=1)
    decided = np.tile(problem.y_test, (len(settings), 1, 1, 1)).astype(np.int16)
    for k, s in enumerate(plan.settings):  # every second as predicted, the others far worse
        wrong = round((s.error + 0.4 * (k % 2)) * len(problem.y_test))
        decided[k, ..., :wrong] = (decided[k, ..., :wrong] + 1) % 3
    trained["decision"] = (trained.decision.dims, decided)
    found = {(r.soft_ratio, r.temperature): r for r in compare(plan, trained, problem.y_test).rows}
    for k, (setting, s) in enumerate(zip(settings, plan.settings, strict=True)):
        row = found[setting]
        assert (row.predicted, row.predicted_se) == (s.error, s.error_se)
        assert row.real_se == pytest.approx((row.real * (1 - row.real) / 80) ** 0.5, rel=0.01)
        assert row.within == (k % 2 == 0)


def test_another_tasks_plan_and_a_task_without_labels_are_refused(problem, plan):
    with pytest.raises(SettingError, match="made for another task"):
        verify(task(n=60, m=80, seed=1), plan, STUDENT)
    with pytest.raises(SettingError, match="verified on a labelled test part"):
        verify(task(n=60, m=80, labels=False), plan, STUDENT)
