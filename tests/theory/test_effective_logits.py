import mp_effective_logits as reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.exceptions import NumericsError, SettingError
from tutelage.theory import _solve_softmax
from tutelage.theory import effective_logits as module
from tutelage.theory.effective_logits import effective_logits, flip_ratio

SETTINGS = [
    (rho, t, a)
    for rho in (1e-6, 0.05, 0.5, 0.9, 0.999, 1.0)
    for t in (0.05, 0.5, 1.0, 4.0, 100.0)
    for a in (0, 2)
]


@pytest.mark.parametrize(("rho", "t", "a"), SETTINGS)
def test_one_logit_agrees_with_arbitrary_precision(rho, t, a):
    teacher = np.array([-1e4, -300.0, -40.0, -3.0, -0.1, 0.0, 1e-3, 0.7, 12.0, 55.0, 999.0, 1e4])
    for y in (0, 1):
        ours = effective_logits(teacher, np.full(12, y), soft_ratio=rho, temperature=t, t_power=a)
        exact = np.array([float(reference.binary(z, y, rho, t, a)) for z in teacher])
        np.testing.assert_allclose(ours, exact, rtol=1e-10, atol=1e-45)  # bisection's own end


@given(
    z=st.floats(-1e4, 1e4),
    y=st.integers(0, 1),
    rho=st.floats(1e-6, 1 - 1e-9),
    t=st.floats(0.05, 100),
    a=st.sampled_from([0, 2]),
)
@settings(max_examples=300, deadline=None)
def test_one_logit_agrees_with_arbitrary_precision_anywhere(z, y, rho, t, a):
    ours = effective_logits(np.array([z]), np.array([y]), soft_ratio=rho, temperature=t, t_power=a)[
        0
    ]
    # Where the root happens to lie next to zero, its last digits are those of the inputs.
    assert ours == pytest.approx(
        float(reference.binary(z, y, rho, t, a)), rel=1e-10, abs=1e-13 * max(1, t)
    )


@given(
    z=st.lists(st.floats(-100, 100), min_size=2, max_size=6),
    rho=st.floats(1e-6, 1 - 1e-6),
    t=st.floats(0.05, 100),
    a=st.sampled_from([0, 2]),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_classes_agree_with_arbitrary_precision(z, rho, t, a, data):
    check_classes(z, data.draw(st.integers(0, len(z) - 1)), rho, t, a)


def test_a_step_that_is_small_only_beside_a_runaway_is_no_root():
    """Newton's method for all unknowns at once runs away here, to log-probabilities of 1e15."""
    check_classes([0.0, 0.0, 0.0, 11.0], 0, 0.125, 13.0, 2)


def check_classes(z, y, rho, t, a):
    ours = effective_logits(np.array([z]), np.array([y]), soft_ratio=rho, temperature=t, t_power=a)[
        0
    ]
    exact = np.array([float(v) for v in reference.softmax(z, y, rho, t, a)])
    np.testing.assert_allclose(ours, exact, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("rho", "t", "a"), [(0.1, 4.0, 2), (0.5, 0.05, 0), (1e-6, 20.0, 2)])
def test_a_thousand_classes_agree_with_arbitrary_precision(rho, t, a):
    z = np.random.default_rng(0).uniform(-100, 100, 1000)
    ours = effective_logits(z[None], np.array([7]), soft_ratio=rho, temperature=t, t_power=a)[0]
    exact = np.array([float(v) for v in reference.softmax(z, 7, rho, t, a)])
    np.testing.assert_allclose(ours, exact, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("a", [0, 2])
@pytest.mark.parametrize("t", [0.5, 1.0, 4.0])
def test_two_classes_are_one_logit(t, a):
    z = np.random.default_rng(1).normal(0, 10, 200)
    y = np.random.default_rng(2).integers(0, 2, 200)
    one = effective_logits(z, y, soft_ratio=0.3, temperature=t, t_power=a)
    two = effective_logits(
        np.stack([np.zeros_like(z), z], 1), y, soft_ratio=0.3, temperature=t, t_power=a
    )
    np.testing.assert_allclose(two[:, 1] - two[:, 0], one, rtol=1e-10)
    np.testing.assert_allclose(two.sum(1), 0, atol=1e-10)


@pytest.mark.parametrize("shape", [(40,), (40, 5)])
def test_the_solver_meets_the_closed_form_at_temperature_one(shape):
    z = np.random.default_rng(3).normal(0, 15, shape)
    y = np.random.default_rng(4).integers(0, 2, 40)
    near = [effective_logits(z, y, soft_ratio=0.4, temperature=1 + d) for d in (-1e-9, 0.0, 1e-9)]
    np.testing.assert_allclose(near[1], 0.5 * (near[0] + near[2]), atol=1e-8)


def test_a_soft_ratio_of_one_is_the_centred_teacher():
    z = np.random.default_rng(5).normal(0, 5, (10, 3))
    ours = effective_logits(z, soft_ratio=1.0, temperature=3.0)
    np.testing.assert_allclose(ours, z - z.mean(1, keepdims=True))
    np.testing.assert_array_equal(effective_logits(z[:, 0], soft_ratio=1.0), z[:, 0])


def test_saturated_logits_keep_their_digits():
    # sigma(50) is 1 in float64; the distance from 1 is what the answer is made of.
    ours = effective_logits(np.array([-50.0]), np.array([0]), soft_ratio=0.5)[0]
    assert ours == pytest.approx(float(reference.binary(-50, 0, 0.5, 1, 2)), rel=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_settings_broadcast_and_the_kind_of_array_is_kept(kind):
    z, y = kind(np.random.default_rng(6).normal(size=(7, 4))), kind(np.arange(7) % 4)
    rho, t = kind(np.array([[0.1], [0.5], [1.0]])), kind(np.array([1.0, 3.0]))
    grid = effective_logits(z, y, soft_ratio=rho, temperature=t)
    assert type(grid) is type(z)
    assert tuple(grid.shape) == (3, 2, 7, 4)
    single = effective_logits(z, y, soft_ratio=0.5, temperature=3.0)
    np.testing.assert_array_equal(np.asarray(grid[1, 1]), np.asarray(single))


@pytest.mark.parametrize("a", [0, 2])
@pytest.mark.parametrize("t", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(300,), (300, 6)])
def test_at_the_flip_ratio_label_and_teacher_tie(shape, t, a):
    z = np.random.default_rng(7).normal(0, 3, shape)
    y = np.random.default_rng(8).integers(0, 2 if len(shape) == 1 else 6, 300)
    winner = (z > 0).astype(int) if z.ndim == 1 else z.argmax(1)
    wrong = winner != y
    flips = flip_ratio(z, y, temperature=t, t_power=a)
    np.testing.assert_array_equal(flips[~wrong], 1.0)
    for i in np.flatnonzero(wrong)[:20]:
        tie = effective_logits(
            z[i : i + 1], y[i : i + 1], soft_ratio=flips[i], temperature=t, t_power=a
        )[0]
        gap = tie if z.ndim == 1 else tie[y[i]] - tie[winner[i]]
        assert abs(gap) < 1e-10


@given(rho=st.floats(0.01, 0.98), t=st.floats(0.1, 20), z=st.floats(-30, 30))
@settings(max_examples=60, deadline=None)
def test_a_lower_soft_ratio_pulls_further_toward_the_label(rho, t, z):
    low, high = effective_logits(
        np.array([z]), np.array([1]), soft_ratio=np.array([rho, rho + 0.01]), temperature=t
    )[:, 0]
    assert low >= high >= z


def test_a_sample_that_does_not_converge_is_named(monkeypatch):
    def stuck(logits, labels, *_):
        return torch.zeros_like(logits), labels != 1

    monkeypatch.setattr(module, "softmax_root", stuck)
    with pytest.raises(
        NumericsError, match=r"sample 2 did not converge at soft ratio 0.5, temperature 2"
    ):
        effective_logits(np.eye(3), np.array([0, 0, 1]), soft_ratio=0.5, temperature=2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"soft_ratio": 0.0}, "has no effective logit. Use a small positive soft ratio"),
        ({"soft_ratio": 1.5}, "it is the teacher's share of the loss, in (0, 1]"),
        ({"soft_ratio": float("nan")}, "in (0, 1]"),
        ({"soft_ratio": 0.5, "temperature": 0.0}, "expected a positive, finite number"),
        ({"soft_ratio": 0.5, "temperature": float("inf")}, "expected a positive, finite number"),
        ({"soft_ratio": 0.5, "t_power": 1}, "expected 0 (the paper's loss) or 2"),
        ({"soft_ratio": 0.5, "labels": None}, "Labels are missing"),
        ({"soft_ratio": 0.5, "labels": np.array([0, 3])}, "Label 3 of sample 1 is outside 0 … 2"),
        ({"soft_ratio": 0.5, "labels": np.array([0])}, "one for each row"),
        ({"soft_ratio": 0.5, "labels": np.array([0.5, 1])}, "not whole numbers"),
        (
            {"soft_ratio": 0.5, "teacher_logits": np.array([[0, np.nan, 1], [0, 0, 1]])},
            "the first is in sample 0",
        ),
        ({"soft_ratio": 0.5, "teacher_logits": np.zeros((2, 1))}, "C of 2 or more"),
    ],
)
def test_bad_input_is_said_in_a_sentence(arguments, message):
    given_ = {"teacher_logits": np.zeros((2, 3)), "labels": np.array([0, 1])} | arguments
    with pytest.raises(SettingError) as caught:
        effective_logits(**given_)
    assert message in str(caught.value)


@pytest.mark.parametrize("a", [0, 2])
@pytest.mark.parametrize("t", [0.5, 2.0, 8.0])
def test_newtons_method_for_all_unknowns_settles_by_itself(t, a):
    """Brackets are for what is left; a mistake in the joint steps would hide behind them."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 12, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 12, (200,), generator=generator)
    for rho in (0.05, 0.5, 0.95):
        problem = _solve_softmax._Problem.pose(logits, labels, rho, t, a)
        log_p, settled = problem._together()
        assert settled.double().mean() > 0.9
        by_brackets, _ = problem._bracketed()
        torch.testing.assert_close(log_p[settled], by_brackets[settled], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("columns", [1, 4])
def test_a_sample_without_a_label_has_the_teachers_logits_at_every_setting(columns):
    rng = np.random.default_rng(0)
    z = 3 * rng.normal(size=(9, columns)).squeeze()
    y = rng.integers(0, max(2, columns), 9)
    some = np.where(np.arange(9) % 3, y, -100)
    settings = {"soft_ratio": np.array([[0.1], [0.7]]), "temperature": np.array([[1.0, 4.0]])}
    whole, found = (effective_logits(z, labels, **settings) for labels in (y, some))
    known = some == y
    assert np.array_equal(found[:, :, known], whole[:, :, known])
    centred = z if columns == 1 else z - z.mean(1, keepdims=True)
    assert np.array_equal(
        found[:, :, ~known], np.broadcast_to(centred[~known], found[:, :, ~known].shape)
    )
    with pytest.raises(SettingError, match="Label -100 of sample 0 is outside"):
        flip_ratio(z, some)
