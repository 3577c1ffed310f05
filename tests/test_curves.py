import dataclasses
import json
import re

import numpy as np
import pytest
import torch

import tutelage as tu
from problems import task, untimed
from tolerances import assert_close
from tutelage.exceptions import SettingError, TaskError
from tutelage.theory import transfer_risk
from tutelage.theory.data_inefficiency import fresh_sample
from tutelage.theory.effective_logits import unmasked

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


class Refitted:
    """Students of one setting and ordering, each solved for on its own, without any factor."""

    def __init__(self, problem, kernel, order, rho, t, jitter):
        self.jitter, (pool, test) = jitter, problem.inputs(torch.float64)
        self.theta, labels = kernel(pool[order]), torch.as_tensor(problem.y_train[order])
        self.z = effective(problem, "train", rho, t)[order]
        self.teacher = torch.as_tensor(problem.teacher_logits_train[order])
        self.teacher = self.teacher - self.teacher.mean(1, keepdim=True)
        classes = self.z.shape[1]
        self.reference = torch.nn.functional.one_hot(labels, classes).double() - 1 / classes
        self.labels = labels
        if test is not None:
            self.cross, self.prior = kernel(test, pool[order]), kernel.diag(test)

    def weights(self, rows, targets):
        eye = torch.eye(len(self.theta[rows]), dtype=torch.float64)
        return torch.linalg.solve(self.theta[rows][:, rows] + self.jitter * eye, targets[rows])

    def at(self, cross, prior, rows):
        """Logits and σ² at inputs with that kernel to the ordering's samples."""
        explained = self.weights(rows, cross.mT)
        variance = prior - (cross.mT[rows] * explained).sum(0)
        return cross[:, rows] @ self.weights(rows, self.z), variance

    def gram(self, n):
        return self.z[:n].mT @ self.weights(slice(n), self.z)

    def norm(self, rows):
        return (self.z[rows] * self.weights(rows, self.z)).sum()

    def scale(self, n):
        eye = torch.eye(len(self.theta), dtype=torch.float64)
        lower = torch.linalg.cholesky(self.theta + self.jitter * eye)
        u = torch.linalg.solve_triangular(lower, self.z, upper=False)
        return u[n - max(1, n // 3) : n].square().mean(0) * transfer_risk.centred_share(3)

    def cosine(self, a, b, n):
        products = [
            (one[:n] * self.weights(slice(n), two)).sum() for one, two in ((a, b), (a, a), (b, b))
        ]
        return products[0] / (products[1] * products[2]).sqrt()


def effective(problem, part, rho, t):
    logits, labels = getattr(problem, f"teacher_logits_{part}"), getattr(problem, f"y_{part}")
    return torch.as_tensor(tu.effective_logits(logits, labels, soft_ratio=rho, temperature=t))


def expected_risks(refitted, n, logits, variance, oracle, prior):
    bound = transfer_risk.bounds(
        oracle, logits, refitted.gram(60) - refitted.gram(n), prior, variance
    )
    return {
        "expected_transfer_risk": transfer_risk.expected_transfer_risk(
            logits, refitted.scale(n), variance
        ),
        "oracle_risk": (decide(logits) != decide(oracle)).mean(),
        "risk_bound": bound.risk_bound,
        "power_bound": bound.power_bound,
        "certified_fraction": bound.certified_fraction,
    }


def assert_has(here, expected):
    for name, value in expected.items():
        assert here[name].item() == pytest.approx(float(value), rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("n", [25, 59, 60])
def test_every_other_number_is_that_of_a_student_fitted_on_its_own(n):
    problem, kernel = task(), tu.kernels.mlp(depth=1)
    found = tu.curves(problem, kernel, **GRID, sizes=[n], orderings=2, seed=5)
    if n == 59:  # where the bounds say something, and not the same
        assert (found.power_bound < found.risk_bound).sel(n=59).any()
    order = np.random.default_rng([5, 1]).permutation(60)
    for rho, t in ((0.2, 3.0), (1.0, 1.0)):
        here = found.sel(soft_ratio=rho, temperature=t, n=n, ordering=1)
        made = Refitted(problem, kernel, order, rho, t, found.jitter[1].item())
        logits, variance = made.at(made.cross, made.prior, slice(n))
        oracle, _ = made.at(made.cross, made.prior, slice(60))
        norm = made.norm(slice(n))
        inefficiency, se = fresh_sample(
            norm, effective(problem, "test", rho, t) - logits, variance, made.jitter, n
        )
        teacher, pull, reference = made.teacher, made.z - made.teacher, made.reference
        assert_has(
            here,
            expected_risks(made, n, logits, variance, oracle, made.prior)
            | {
                "squared_norm": norm,
                "data_inefficiency": inefficiency,
                "data_inefficiency_se": se,
                "distance": made.norm(slice(60)).sqrt(),
                "cos_teacher_reference": made.cosine(teacher, reference, n),
                "cos_effective_reference": made.cosine(made.z, reference, n),
                "cos_correction_teacher": made.cosine(pull, teacher, n) if rho < 1 else 0,
                "cos_correction_reference": made.cosine(pull, reference, n) if rho < 1 else 0,
            },
        )
        third = range(n - n // 3, n)
        ahead = [made.theta[i, :i] @ made.weights(slice(i), made.z) for i in third]
        wrong = torch.stack(ahead).argmax(1) != made.labels[n - n // 3 : n]
        assert here.error_prequential == pytest.approx(wrong.double().mean().item())


def test_every_other_number_from_the_pool_is_that_of_a_student_fitted_on_its_own():
    problem, kernel = task(test=False), tu.kernels.mlp(depth=1)
    found = tu.curves(problem, kernel, **GRID, sizes=SIZES, orderings=2, seed=5)
    [given], labels = problem.teacher_decisions("train"), problem.y_train

    def shares(logits, rows):
        decided = decide(logits)
        return {
            "transfer_risk": (decided != given[rows]).mean(),
            "error": (decided != labels[rows]).mean(),
        }

    for r in range(2):
        order = np.random.default_rng([5, r]).permutation(60)
        here = found.sel(soft_ratio=0.2, temperature=3.0, ordering=r)
        made = Refitted(problem, kernel, order, 0.2, 3.0, found.jitter[r].item())
        prior, unseen = made.theta.diagonal(), slice(25, None)
        logits, variance = made.at(made.theta[unseen], prior[unseen], slice(25))
        inefficiency, se = fresh_sample(
            made.norm(slice(25)), made.z[unseen] - logits, variance, made.jitter, 25
        )
        own = prior + made.jitter  # a pool sample has a feature √λ of its own
        assert_has(
            here.sel(n=25),
            expected_risks(made, 25, logits, variance + made.jitter, made.z[unseen], own[unseen])
            | shares(logits, order[unseen])
            | {"data_inefficiency": inefficiency, "data_inefficiency_se": se},
        )
    logits, variance, norms = [], [], []
    for i in range(60):
        others = torch.arange(60) != i
        mean, rest = made.at(made.theta[i : i + 1], prior[i : i + 1], others)
        logits.append(mean)
        variance.append(rest + made.jitter)
        norms.append(made.norm(others).sqrt())
    logits, variance, norms = torch.cat(logits), torch.cat(variance), torch.stack(norms)
    whole = made.norm(slice(60)).sqrt()
    assert_has(
        here.sel(n=60),
        expected_risks(made, 60, logits, variance, made.z, own)
        | shares(logits, order)
        | {
            "data_inefficiency": 60 * (whole.log() - norms.mean().log()),
            "data_inefficiency_se": 60 * norms.std() / norms.mean() / 60**0.5,
        },
    )


def test_of_masked_classes_the_teacher_says_nothing_at_any_temperature():
    whole, kernel = task(n_classes=6), tu.kernels.mlp(depth=1)
    z = whole.teacher_logits_train
    masked = np.where(z < np.sort(z, 1)[:, -3:].min(1, keepdims=True), -1e4, z)
    problem = dataclasses.replace(whole, teacher_logits_train=masked)
    found = tu.curves(problem, kernel, **GRID, sizes=SIZES, orderings=1)
    order = np.random.default_rng([0, 0]).permutation(60)

    def refitted(t, of):
        logits = unmasked(torch.as_tensor(masked), problem.fill, of).numpy()
        known = dataclasses.replace(whole, teacher_logits_train=logits)
        return Refitted(known, kernel, order, 0.2, t, found.jitter[0].item())

    for t in GRID["temperature"]:
        here, made = found.sel(soft_ratio=0.2, temperature=t).isel(ordering=0), refitted(t, t)
        assert here.distance.item() == pytest.approx(made.norm(slice(60)).sqrt().item(), rel=1e-6)
        teacher = refitted(t, 1.0).teacher
        expected = made.cosine(teacher, made.reference, 25).item()
        assert here.cos_teacher_reference.sel(n=25).item() == pytest.approx(expected, rel=1e-6)


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
    none = task(test=False)
    full, pool, a, b = (
        tu.curves(t, kernel, **GRID, sizes=SIZES, orderings=1)
        for t in (whole, none, no_teacher, no_labels)
    )
    assert_close(a.error.values, full.error.values)
    assert_close(b.transfer_risk.values, full.transfer_risk.values)
    assert b.attrs["error_from"] == "pool"
    assert a.attrs["error_from"] == "test part"
    for name in ("transfer_risk", "data_inefficiency"):  # the pool tells what the test part cannot
        assert_close(a[name].values, pool[name].values)
    for name in ("error", "data_inefficiency"):
        assert_close(b[name].values, pool[name].values)
    assert np.isfinite(pool.data_inefficiency.values).all()


def test_without_labels_only_the_teacher_is_followed():
    found = tu.curves(task(labels=False), tu.kernels.mlp(depth=1), **GRID, sizes=SIZES, orderings=1)
    assert found.soft_ratio.values.tolist() == [1.0]
    assert "error" not in found
    assert found.attrs["error_from"] == "test part"  # what is measured is agreement
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


def test_sizes_are_those_asked_for_and_the_whole_pool():
    found = tu.curves(
        task(),
        tu.kernels.mlp(depth=1),
        soft_ratio=[1.0],
        temperature=[1.0],
        sizes=[25, 2],
        orderings=1,
    )
    assert found.n.values.tolist() == [2, 25, 60]


@pytest.mark.parametrize(("n", "first"), [(60, 15), (400, 32)])
def test_by_default_sizes_are_log_spaced_from_32_or_a_quarter_of_a_small_pool(n, first):
    found = tu.curves(task(n=n), tu.kernels.mlp(depth=1), soft_ratio=[1.0], temperature=[1.0])
    assert found.sizes["ordering"] == 4
    assert found.n.values.tolist() == np.geomspace(first, n, 16).round().tolist()


def test_saved_and_loaded_curves_give_the_same_plan(tmp_path):
    problem = task(epochs=[1, 5])
    found = tu.curves(problem, tu.kernels.mlp(depth=1), **GRID, orderings=2)
    tu.save_curves(found, tmp_path / "curves.nc")
    again = tu.load_curves(tmp_path / "curves.nc")
    first, second = (tu.plan(problem, curves=c, target_error=0.2).as_dict() for c in (found, again))
    assert untimed(first) == untimed(second)


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
    np.testing.assert_allclose(narrow.error, wide.error, atol=1e-9)  # no sample is that near
    for name in ("data_inefficiency", "expected_transfer_risk", "squared_norm"):
        np.testing.assert_allclose(narrow[name], wide[name], rtol=1e-3, err_msg=name)


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
    ("changes", "message"),
    [
        ({"task": "path"}, "expected a tutelage.Task"),
        ({"student": 3}, "expected a kernel"),
        ({"student": tu.kernels.Relu}, "expected a kernel"),
        ({"soft_ratio": 0.5}, "soft_ratio is 0.5; expected a list of numbers"),
        ({"soft_ratio": "0.5"}, "expected a list of numbers"),
    ],
)
def test_what_is_no_task_kernel_or_list_is_said(changes, message):
    given = {"task": task(), "student": tu.kernels.mlp()} | changes
    with pytest.raises(tu.TutelageError, match=message):
        tu.curves(**given)


def test_a_singular_kernel_is_said():
    problem = task(n=60)
    linear = tu.curves(
        problem, tu.kernels.mlp(depth=0), soft_ratio=[0.5], temperature=[1.0], orderings=1
    )
    assert re.search(
        r"The kernel is singular: the student's features of 5[34] of 60 samples", linear.warnings
    )
    assert (
        "singular"
        not in tu.curves(
            problem, tu.kernels.mlp(depth=1), soft_ratio=[0.5], temperature=[1.0], orderings=1
        ).warnings
    )


def test_a_kernel_that_more_had_to_be_added_to_is_said_to_be_nearly_singular():
    found = tu.curves(
        task(n=300),
        tu.kernels.mlp(depth=0),
        soft_ratio=[0.5],
        temperature=[1.0],
        orderings=1,
        dtype="float32",
    )
    assert found.jitter_relative.item() > 2e-6
    said = f"nearly singular: {found.jitter_relative.item():g} of its mean diagonal had to be added"
    assert said in found.warnings


def test_two_columns_say_what_one_logit_says():
    one = task(n_classes=2)
    z = {part: one.teacher_logits(part)[0] for part in ("train", "test")}
    two = tu.Task(
        one.x_train, np.hstack([-z["train"], z["train"]]) / 2, one.y_train,
        one.x_test, np.hstack([-z["test"], z["test"]]) / 2, one.y_test,
    )  # fmt: skip
    a, b = (
        tu.curves(
            t, tu.kernels.mlp(depth=1), soft_ratio=[0.2, 1.0], temperature=[1.0, 4.0], orderings=2
        )
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
        problem,
        curves=tu.curves(
            problem, tu.kernels.mlp(depth=1), soft_ratio=[0.2, 1.0], temperature=[1.0], orderings=1
        ),
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
        tu.Task(x[:20], z[:20], None, x[20:], z[20:]),
        tu.kernels.mlp(depth=1),
        soft_ratio=[1.0],
        temperature=[1.0],
    )
    left_out = curves.decision_loo.values
    assert left_out.min() >= 0
    assert left_out.max() > 32_767 or curves.decision.values.max() > 32_767
    assert curves.sizes["ordering"] == 1
    assert "by default one ordering and few sizes" in curves.attrs["notes"]


def test_curves_of_a_part_of_the_pool_tell_nothing_of_the_others():
    problem = task(n=80, m=40)
    student = tu.lab.student(
        "mlp:width=8,depth=1", training=tu.lab.Training(2, 0.05, 16), epochs=10
    )
    options = {**GRID, "orderings": 1, "pool": 50}
    found = tu.curves(problem, student, **options)
    assert found.n.values[-1] == 50
    told = (found.decision_loo.values >= 0).reshape(-1, 80)
    used = np.random.default_rng([0, 0]).permutation(80)[:50]
    assert set(np.flatnonzero(told.any(0))) <= set(used.tolist())
    assert told.any()
    assert found.identical(tu.curves(problem, student, **options).assign_attrs(found.attrs))
    whole = tu.curves(problem, student, **{**options, "pool": 80})
    assert whole.n.values[-1] == 80
    assert not np.array_equal(whole.error.values[..., -1], found.error.values[..., -1])
