import json
import re

import numpy as np
import pytest
import torch

import tutelage as tu
from problems import task
from tolerances import assert_close
from tutelage.exceptions import SettingError, TaskError

GRID = {"soft_ratio": [0.2, 1.0], "temperature": [1.0, 3.0]}
SIZES = [10, 25, 60]


def refit(problem, kernel, rows, at, rho, t, jitter, labels=True):
    """Logits at some inputs of the student of some pool samples, fitted on its own."""
    pool, test = problem.inputs(torch.float64)
    x = {"pool": pool, "test": test}[at]
    z = tu.effective_logits(
        problem.teacher_logits_train,
        problem.y_train if labels else None,
        soft_ratio=rho,
        temperature=t,
    )
    z = torch.as_tensor(z.reshape(len(z), -1))
    theta = kernel(pool[rows]) + jitter * torch.eye(len(rows), dtype=torch.float64)
    return kernel(x, pool[rows]) @ torch.linalg.solve(theta, z[rows])


def decide(logits):
    return (logits[:, 0] > 0).long().numpy() if logits.shape[1] == 1 else logits.argmax(1).numpy()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_error_is_that_of_a_student_fitted_on_its_own(n_classes):
    problem, kernel = task(n_classes=n_classes), tu.kernels.mlp(depth=1)
    found = tu.curves(problem, kernel, **GRID, sizes=SIZES, orderings=2, seed=5)
    for r in range(2):
        order = np.random.default_rng([5, r]).permutation(60)
        for rho in GRID["soft_ratio"]:
            for t in GRID["temperature"]:
                for n in SIZES:
                    logits = refit(
                        problem, kernel, order[:n], "test", rho, t, found.jitter[r].item()
                    )
                    here = found.sel(soft_ratio=rho, temperature=t, n=n, ordering=r)
                    assert here.error == pytest.approx((decide(logits) != problem.y_test).mean())
                    given = problem.teacher_decisions("test")[0]
                    assert here.transfer_risk == pytest.approx((decide(logits) != given).mean())


def test_without_a_test_part_the_unseen_pool_and_leave_one_out_take_its_place():
    problem, kernel = task(test=False), tu.kernels.mlp(depth=1)
    found = tu.curves(problem, kernel, **GRID, sizes=SIZES, orderings=2)
    assert found.attrs["error_from"] == "pool"
    order = np.random.default_rng([0, 1]).permutation(60)
    here = found.sel(soft_ratio=0.2, temperature=3.0, ordering=1)
    unseen = order[25:]
    logits = refit(problem, kernel, order[:25], "pool", 0.2, 3.0, found.jitter[1].item())
    assert here.error.sel(n=25) == pytest.approx(
        (decide(logits)[unseen] != problem.y_train[unseen]).mean()
    )
    for i in range(0, 60, 7):
        others = np.setdiff1d(np.arange(60), [i])
        left_out = refit(problem, kernel, others, "pool", 0.2, 3.0, found.jitter[1].item())
        assert here.decision_loo[i] == decide(left_out)[i]
    assert here.error.sel(n=60) == pytest.approx(here.error_loo)
    assert here.error_loo == pytest.approx((here.decision_loo.values != problem.y_train).mean())
    assert (found.evaluated == [50, 35, 60]).all()


def test_a_test_part_without_teacher_or_without_labels_is_used_for_what_it_can_tell():
    whole = task()
    no_teacher = tu.Task(
        whole.x_train, whole.teacher_logits_train, whole.y_train, whole.x_test, None, whole.y_test
    )
    no_labels = tu.Task(
        whole.x_train,
        whole.teacher_logits_train,
        whole.y_train,
        whole.x_test,
        whole.teacher_logits_test,
    )
    kernel = tu.kernels.mlp(depth=1)
    full, a, b = (
        tu.curves(t, kernel, **GRID, sizes=SIZES, orderings=1)
        for t in (whole, no_teacher, no_labels)
    )
    assert_close(a.error.values, full.error.values)
    assert_close(b.transfer_risk.values, full.transfer_risk.values)
    assert b.attrs["error_from"] == "pool"
    assert np.isfinite(a.data_inefficiency.values).all()
    assert np.isfinite(b.data_inefficiency.values).all()


def test_without_labels_only_the_teacher_is_followed():
    found = tu.curves(task(labels=False), tu.kernels.mlp(depth=1), **GRID, sizes=SIZES, orderings=1)
    assert found.soft_ratio.values.tolist() == [1.0]
    assert "error" not in found
    assert "only a soft ratio of 1" in json.loads(found.attrs["warnings"])[0]


def test_epochs_are_as_if_each_had_been_given_alone():
    both = task(epochs=[1, 9])
    kernel = tu.kernels.mlp(depth=1)
    found = tu.curves(both, kernel, **GRID, sizes=SIZES, orderings=2)
    assert found.epoch.values.tolist() == [1, 9]
    alone = tu.Task(
        both.x_train,
        both.teacher_logits_train[1],
        both.y_train,
        both.x_test,
        both.teacher_logits_test[1],
        both.y_test,
    )
    single = tu.curves(alone, kernel, **GRID, sizes=SIZES, orderings=2)
    for name in single.data_vars:
        expected = single[name].values
        ours = (
            found[name].sel(epoch=9).values if "epoch" in found[name].dims else found[name].values
        )
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-8, err_msg=str(name))


def test_bounds_cover_the_disagreement_with_the_whole_pools_student():
    for n_classes in (2, 3):
        found = tu.curves(task(n_classes=n_classes), tu.kernels.mlp(), **GRID, orderings=3)
        assert (found.oracle_risk <= found.power_bound + 1e-12).all()
        assert (found.power_bound <= found.risk_bound + 1e-12).all()
        assert (found.certified_fraction <= 1 - found.oracle_risk + 1e-12).all()
        assert (found.isel(n=-1).risk_bound == 0).all()


def test_the_grid_is_labelled_and_stamped():
    found = tu.curves(task(), tu.kernels.mlp(), **GRID, sizes=SIZES, orderings=2, seed=3)
    assert found.error.dims == ("ordering", "soft_ratio", "temperature", "n")
    assert all({"long_name", "units"} <= set(v.attrs) for v in found.data_vars.values())
    assert found.attrs["tutelage"] == tu.__version__
    assert found.attrs["student"].startswith("mlp:depth=3")
    assert (found.attrs["seed"], found.attrs["dtype"], found.attrs["t_power"]) == (3, "float64", 2)


def test_saved_and_loaded_curves_give_the_same_plan(tmp_path):
    problem = task(epochs=[1, 5])
    found = tu.curves(problem, tu.kernels.mlp(depth=1), **GRID, orderings=2)
    tu.save_curves(found, tmp_path / "curves.nc")
    again = tu.load_curves(tmp_path / "curves.nc")
    first, second = (tu.plan(problem, c, target_error=0.2).as_dict() for c in (found, again))
    assert first | {"seconds": 0} == second | {"seconds": 0}


@pytest.mark.parametrize("content", [b"", b"not netcdf"])
def test_a_file_that_holds_no_curves_is_said(tmp_path, content):
    path = tmp_path / "curves.nc"
    path.write_bytes(content)
    with pytest.raises(TaskError, match="cannot be read as curves"):
        tu.load_curves(path)


def test_float32_tells_the_same():
    problem = task(n=120)
    kernel = tu.kernels.mlp(depth=1)
    wide, narrow = (
        tu.curves(problem, kernel, **GRID, sizes=[60], orderings=1, dtype=d)
        for d in ("float64", "float32")
    )
    assert abs(wide.error - narrow.error).max() <= 0.1
    np.testing.assert_allclose(narrow.data_inefficiency, wide.data_inefficiency, atol=0.05)


def test_the_same_seed_gives_the_same_curves_and_another_seed_others():
    problem, kernel = task(), tu.kernels.mlp(depth=1)
    a, b, c = (
        tu.curves(problem, kernel, **GRID, sizes=SIZES, orderings=2, seed=s) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(a.squared_norm, b.squared_norm)
    assert (a.squared_norm.isel(n=0) != c.squared_norm.isel(n=0)).any()
    np.testing.assert_allclose(a.squared_norm.isel(n=-1), c.squared_norm.isel(n=-1), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": [10, 61]}, "A size of 61 was asked for; the pool has 60 samples"),
        ({"sizes": [1]}, "sizes lie in 2 … 60"),
        ({"soft_ratio": [0.0, 1.0]}, "A soft ratio of 0 is training on the labels alone"),
        ({"soft_ratio": [1.2]}, "A soft ratio of 1.2 was given"),
        ({"soft_ratio": []}, "No soft_ratio was given"),
        (
            {"temperature": [-1]},
            "A temperature of -1 was given; expected a positive, finite number",
        ),
        ({"t_power": 3}, "t_power is 3; expected 0"),
        ({"orderings": 0}, "0 orderings were asked for"),
        ({"dtype": "float16"}, "The dtype is 'float16'; expected float64 or float32"),
    ],
)
def test_bad_settings_are_said_in_a_sentence(arguments, message):
    with pytest.raises(SettingError) as caught:
        tu.curves(task(), tu.kernels.mlp(), **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("path",), "expected a tutelage.Task"),
        ((None, "mlp"), "expected a kernel"),
        ((None, tu.kernels.mlp), "expected a kernel"),
        ((None, None, 0.5), "soft_ratio is 0.5; expected a list of numbers"),
        ((None, None, "0.5"), "expected a list of numbers"),
    ],
)
def test_what_is_no_task_kernel_or_list_is_said(arguments, message):
    filled = [
        a if a is not None else default
        for a, default in zip(
            (*arguments, *[None] * 3), (task(), tu.kernels.mlp(), [1.0]), strict=False
        )
    ]
    with pytest.raises(tu.TutelageError, match=message):
        tu.curves(*filled)


def test_a_singular_kernel_is_said():
    problem = task(n=60)
    linear = tu.curves(problem, tu.kernels.mlp(depth=0), [0.5], [1.0], orderings=1)
    assert re.search(
        r"The kernel is singular: the student's features of 5[34] of 60 samples", linear.warnings
    )
    assert (
        "singular"
        not in tu.curves(problem, tu.kernels.mlp(depth=1), [0.5], [1.0], orderings=1).warnings
    )


def test_two_columns_say_what_one_logit_says():
    one = task(n_classes=2)
    z = {part: one.teacher_logits(part)[0] for part in ("train", "test")}
    two = tu.Task(
        one.x_train, np.hstack([-z["train"], z["train"]]) / 2, one.y_train,
        one.x_test, np.hstack([-z["test"], z["test"]]) / 2, one.y_test,
    )  # fmt: skip
    a, b = (
        tu.curves(t, tu.kernels.mlp(depth=1), [0.2, 1.0], [1.0, 4.0], orderings=2)
        for t in (one, two)
    )
    for name in (
        "error",
        "transfer_risk",
        "expected_transfer_risk",
        "risk_bound",
        "power_bound",
        "data_inefficiency",
    ):
        np.testing.assert_allclose(a[name], b[name], atol=1e-6, err_msg=name)


def test_one_held_out_sample_is_enough_for_a_plan():
    problem = task(m=1)
    made = tu.plan(
        problem, tu.curves(problem, tu.kernels.mlp(depth=1), [0.2, 1.0], [1.0], orderings=1)
    )
    assert made.recommended.verdict == "flat"
    assert any("measured on 1 samples only" in w for w in made.warnings)


def test_more_classes_than_a_small_integer_holds_are_told_apart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 5))
    z = np.full((24, 40_000), -3.0, np.float32)
    z[np.arange(24), rng.choice(np.arange(32_800, 40_000), 24)] = 3
    z[:, 7] = x[:, 0]
    curves = tu.curves(
        tu.Task(x[:20], z[:20], None, x[20:], z[20:]), tu.kernels.mlp(depth=1), [1.0], [1.0]
    )
    left_out = curves.decision_loo.values
    assert left_out.min() >= 0
    assert left_out.max() > 32_767 or curves.decision.values.max() > 32_767
    assert curves.sizes["ordering"] == 1
    assert "by default one ordering and few sizes" in curves.attrs["notes"]
