import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import tutelage as tu
from problems import task, untimed, wrongly_labelled
from tolerances import assert_close
from tutelage import cli
from tutelage.data.part import Part
from tutelage.exceptions import SettingError, StudentError
from tutelage.kernels import empirical
from tutelage.lab import DistillationLoss, TorchStudent, Training, student
from tutelage.theory import finite_time
from tutelage.train.training import train

QUICK = Training(epochs=4, learning_rate=0.05, batch_size=16)
GRID = {"soft_ratio": [0.2, 1.0], "temperature": [1.0, 4.0], "orderings": 2}


def small(input_shape, n_outputs):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(input_shape)), 16), nn.Tanh(), nn.Linear(16, n_outputs)
    )


def warm(epochs=math.inf, training=QUICK, **changes):
    return TorchStudent(small, "small", training=training, epochs=epochs, **changes)


def samples(x, teacher, labels):
    return Part(x, teacher[:, None], labels)


def examples(n=64):
    torch.manual_seed(0)
    x = torch.randn(n, 4)
    return samples(x, torch.stack([x[:, 0], -x[:, 0]], 1) * 2, (x[:, 0] < 0).long())


def test_training_lowers_the_loss_and_keeps_the_best_epoch():
    data, network = examples(), small((4,), 2)
    loss = DistillationLoss(0.5, 2.0)
    before = loss(network(data.x), data.teacher[:, 0], data.labels)
    done = train(
        network,
        data.rows(slice(0, 48)),
        loss,
        QUICK,
        held_out=data.rows(slice(48, 64)),
    )
    assert loss(network(data.x), data.teacher[:, 0], data.labels) < 0.9 * before
    assert 1 <= done.epochs <= 4
    assert done.learning_rate == 0.05


def test_the_learning_rate_is_found_and_trains():
    data, network = examples(), small((4,), 2)
    done = train(network, data, DistillationLoss(0.5, 2.0), Training(epochs=10, batch_size=16))
    assert 1e-4 < done.learning_rate < 1
    assert ((network(data.x).argmax(1) != data.labels).float().mean()) < 0.2


def test_the_range_test_stops_before_the_loss_blows_up():
    data = examples()
    wide = replace(data, x=100 * data.x)
    slow, fast = (
        train(
            nn.Linear(4, 2), d, DistillationLoss(0.5, 2.0), Training(2, batch_size=16)
        ).learning_rate
        for d in (wide, data)
    )
    assert slow < 0.1 * fast


def test_the_range_test_leaves_the_network_as_it_was():
    data, loss = examples(), DistillationLoss(0.5, 2.0)
    network, same = small((4,), 2), small((4,), 2)
    same.load_state_dict(network.state_dict())
    done = train(network, data, loss, Training(2, batch_size=16))
    train(same, data, loss, Training(2, done.learning_rate, 16))
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in network.state_dict().items())


def test_training_is_reproducible_and_leaves_the_random_state_alone():
    data, x = examples(), torch.randn(5, 4)
    state = torch.get_rng_state()
    found = [warm().start(data, seed=3) for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(found[0].logits(x), found[1].logits(x))
    assert torch.equal(found[0].kernel(x), found[1].kernel(x))
    assert not torch.equal(warm().start(data, seed=4).logits(x), found[0].logits(x))


def test_a_training_that_diverges_is_said():
    data = examples()
    with pytest.raises(StudentError, match="diverged at a learning rate of 1e"):
        train(
            small((4,), 2),
            replace(data, x=data.x * 1e3),
            DistillationLoss(0.5, 4.0),
            Training(5, 1e8, 16),
        )


def test_a_start_that_has_not_moved_is_linearised_at_its_initial_weights():
    tangent = warm(linearise="init", epochs=7).start(examples(), seed=5)
    torch.manual_seed(5)
    network, x = small((4,), 2), torch.randn(6, 4)
    assert torch.equal(tangent.kernel(x), empirical(network)(x))
    centred = network(x) - network(x).mean(1, keepdim=True)
    torch.testing.assert_close(tangent.logits(x).float(), centred.detach())
    assert tangent.notes == (
        "Errors are those of a student that is trained until it has converged.",
    )


def test_the_curves_of_a_start_are_the_tangents_own_solution():
    """(3.7) by hand: z_0 + k Θ⁻¹ (z_eff - z_0), at n = N, with the start that has seen the whole
    pool."""
    problem = task(n=60, m=40)
    found = tu.curves(problem, warm(), soft_ratio=[0.5], temperature=[2.0], orderings=1, seed=4)
    pool, test = problem.inputs(torch.float64)
    order = torch.as_tensor(np.random.default_rng([4, 0]).permutation(60))
    teacher, labels = (
        torch.as_tensor(problem.teacher_logits_train),
        torch.as_tensor(problem.y_train),
    )
    tangent = warm().start(samples(pool[order], teacher[order], labels[order]), seed=8001)
    target = tu.effective_logits(teacher, labels, soft_ratio=0.5, temperature=2.0)[order]
    theta = tangent.kernel(pool[order]) + float(found.jitter[0]) * torch.eye(60)
    learned = torch.linalg.solve(theta, target - tangent.logits(pool[order]))
    logits = tangent.logits(test) + tangent.kernel(pool[order], test).mT @ learned
    assert np.array_equal(found.decision.squeeze().values, logits.argmax(1).numpy())
    assert float(found.error.isel(n=-1).squeeze()) == pytest.approx(
        float((logits.argmax(1).numpy() != problem.y_test).mean())
    )
    assert float(found.distance.squeeze()) == pytest.approx(
        float(((target - tangent.logits(pool[order])) * learned).sum() ** 0.5), rel=1e-4
    )


def test_after_a_finite_training_the_curves_are_those_of_8_1(monkeypatch):
    """At the stationary point the coefficients are -(t/n) ∂ℓ/∂z; decisions, errors and risks follow
    from them."""
    monkeypatch.setattr(finite_time, "_TOLERANCE", 1e-9)
    problem = task(n=60, m=200)
    found = tu.curves(
        problem,
        warm(epochs=7),
        soft_ratio=[0.5],
        temperature=[2.0],
        sizes=[40],
        orderings=1,
        seed=4,
    )
    pool, test = problem.inputs(torch.float64)
    order = torch.as_tensor(np.random.default_rng([4, 0]).permutation(60))
    teacher, labels = (
        torch.as_tensor(problem.teacher_logits_train),
        torch.as_tensor(problem.y_train),
    )
    loss = DistillationLoss(0.5, 2.0)

    def decided(n, seen, seed):
        first = order[:n]
        tangent = warm(epochs=7).start(
            samples(pool[order[:seen]], teacher[order[:seen]], labels[order[:seen]]), seed=seed
        )
        assert tangent.time_per_sample == pytest.approx(
            7 * 0.025 / 0.1 / 16
        )  # epochs, mean rate, momentum, batch
        theta, z_0, time = (
            tangent.kernel(pool[first]),
            tangent.logits(pool[first]),
            tangent.time_per_sample * n,
        )
        weights = torch.zeros(n, 3, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [weights], max_iter=2000, tolerance_grad=1e-11, line_search_fn="strong_wolfe"
        )

        def objective():
            optimiser.zero_grad()
            learned = theta @ weights
            value = loss(z_0 + learned, teacher[first], labels[first]) + (
                weights * learned
            ).sum() / (2 * time)
            value.backward()
            return value

        optimiser.step(objective)
        return (
            (tangent.logits(test) + tangent.kernel(pool[first], test).mT @ weights.detach())
            .argmax(1)
            .numpy()
        )

    whole, part = decided(60, 60, 8001), decided(40, 15, 8000)
    assert np.array_equal(found.decision.squeeze().values, whole)
    assert found.error.squeeze().values.tolist() == pytest.approx(
        [(part != problem.y_test).mean(), (whole != problem.y_test).mean()]
    )
    [teacher_says] = problem.teacher_decisions("test")
    assert float(found.transfer_risk.squeeze()[0]) == pytest.approx((part != teacher_says).mean())
    converged = tu.curves(
        problem, warm(), soft_ratio=[0.5], temperature=[2.0], sizes=[40], orderings=1, seed=4
    )
    assert not np.array_equal(converged.decision.squeeze().values, whole)
    assert np.array_equal(converged.distance.values, found.distance.values)


def test_a_longer_training_converges(monkeypatch):
    monkeypatch.setattr(finite_time, "_TOLERANCE", 1e-3)
    problem = task(n=60, m=200)
    settings = {"soft_ratio": [0.2], "temperature": [1.0, 4.0], "orderings": 1}
    truth = tu.curves(problem, warm(), **settings).decision
    apart = [
        float((tu.curves(problem, warm(epochs=k), **settings).decision != truth).mean())
        for k in (2, 200, 10**7)
    ]
    assert apart[0] > apart[1] > apart[2]
    assert apart[2] < 0.05


def test_a_plan_of_a_network_has_everything():
    problem = task(n=60, m=40)
    found = tu.curves(problem, warm(), **GRID)
    assert found.n.values.min() == 15
    assert found.decision.sizes["start"] == 2
    made = tu.plan(problem, curves=found)
    for setting in made.settings:
        assert None not in (
            setting.error,
            setting.error_se,
            setting.transfer_risk,
            setting.error_loo,
            setting.distance,
        )
        assert np.isfinite([setting.expected_transfer_risk, setting.data_inefficiency]).all()
    assert any(
        "warm start was trained for" in w and "linearised student follows" in w for w in made.notes
    )
    assert not any("warm start" in w for w in made.warnings)
    assert made.student == "small"


def test_one_step_ahead_errors_are_told_only_of_samples_that_the_start_has_not_seen():
    problem = task(n=60, m=40)
    found = tu.curves(
        problem,
        warm(),
        soft_ratio=[0.5],
        temperature=[1.0],
        sizes=[15, 20, 22, 23, 40],
        orderings=1,
    )
    seen = [n - n // 3 < 15 for n in found.n.values]
    assert seen == [True, True, False, False, False, False]
    assert np.isnan(found.error_prequential.squeeze().values).tolist() == seen


def test_the_least_distance_breaks_ties():
    problem = task(n=60, m=40)
    found = tu.curves(
        problem, warm(), soft_ratio=[0.05, 0.9, 0.95], temperature=[1.0, 4.0], orderings=3
    )
    equal = tu.plan(problem, curves=found).recommended.equally_good
    assert len(equal) > 1
    for soft_ratio, temperature in equal:  # let each in turn be the nearest
        nearer = found.copy(deep=True)
        nearer.distance.loc[{"soft_ratio": soft_ratio, "temperature": temperature}] *= 0.01
        best = tu.plan(problem, curves=nearer).recommended
        assert (best.soft_ratio, best.temperature) == (soft_ratio, temperature)
        assert best.equally_good == equal


def test_of_wrong_labels_there_is_no_warning_for_a_network_that_is_trained_itself():
    noisy, _ = wrongly_labelled()
    grid = {"soft_ratio": [0.1], "temperature": [1.0], "orderings": 1}
    network, closed = (
        tu.plan(noisy, curves=tu.curves(noisy, made, **grid))
        for made in (warm(), tu.kernels.mlp(depth=1))
    )
    for found in (network, closed):
        assert len(found.teacher.teacher_corrects_label) > 9
    assert not any("soft ratio may be too low" in w for w in network.warnings)
    assert any("soft ratio may be too low" in w for w in closed.warnings)


@pytest.mark.parametrize(
    "changes",
    [{"test": False}, {"labels": False}, {"labels": False, "test": False}, {"n_classes": 2}],
)
@pytest.mark.parametrize("epochs", [7, math.inf])
def test_parts_may_be_missing(changes, epochs):
    problem = task(n=60, m=40, **changes)
    made = tu.plan(problem, curves=tu.curves(problem, warm(epochs=epochs), **GRID))
    assert any("are those of a student that is trained" in w for w in made.notes)
    assert made.recommended.transfer_risk is not None
    assert (made.recommended.error is None) == ("labels" in changes)


def test_the_pool_is_judged_by_starts_that_have_not_seen_it():
    """With labels that are pure noise nothing can be predicted, though a start learns those that it
    sees."""
    rng = np.random.default_rng(0)
    noise = tu.Task(rng.normal(size=(120, 20)), rng.normal(size=(120, 2)), rng.integers(0, 2, 120))
    eager = TorchStudent(small, "small", training=Training(40, 0.1, 8))
    found = tu.curves(noise, eager, soft_ratio=[0.05], temperature=[1.0], orderings=2)
    assert 0.35 < float(found.error_loo.squeeze()) < 0.65
    assert 0.35 < float(found.error.isel(n=-1).mean()) < 0.65


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mlp:width=512,deep=3", "takes no 'deep'"),
        ("mlp:width=512,activation=swish", "The activation 'swish' is not known"),
        ("cnn:width=big", "expected a whole number"),
        ("no_such_module:factory", "which cannot be imported"),
        (":factory", "which cannot be imported"),
        ("nets/mine.py:make", "names a file; expected its module, mine:make, in the folder where"),
        ("math:no_such_factory", "has no function 'no_such_factory'"),
        ("cnm", "The student 'cnm' is not known"),
    ],
)
def test_a_spec_that_cannot_be_read_is_said(spec, message):
    with pytest.raises(StudentError, match=message):
        student(spec)


SHARED = small((5,), 3)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: None, "The factory of own failed with TypeError"),
        (lambda shape, n: 1 / 0, "The factory of own failed with ZeroDivisionError"),
        (lambda shape, n: "network", "gave str; expected a torch.nn.Module"),
        (lambda shape, n: small((9,), n), "fails on inputs of shape"),
        (lambda shape, n: small(shape, n + 1), "has 4 output"),
        (
            lambda shape, n: small(shape, n).requires_grad_(False),
            "no parameters that can be trained",
        ),
    ],
)
@pytest.mark.parametrize("linearise", ["warm", "init"])
def test_a_factory_that_does_not_fit_is_said(factory, message, linearise):
    with pytest.raises(StudentError, match=message):
        tu.curves(task(n=60, m=40), TorchStudent(factory, "own", linearise, QUICK), **GRID)


def test_a_factory_that_gives_one_network_again_and_again_is_not_trained_twice():
    before = {k: v.clone() for k, v in SHARED.state_dict().items()}
    tu.curves(
        task(n=60, m=40), TorchStudent(lambda shape, n: SHARED, "shared", training=QUICK), **GRID
    )
    assert all(torch.equal(v, before[k]) for k, v in SHARED.state_dict().items())


def test_a_good_start_is_kept():
    data, network = examples(), nn.Linear(4, 2)
    train(network, data, DistillationLoss(1.0, 1.0), Training(200, 0.5, 64))
    best = {k: v.clone() for k, v in network.state_dict().items()}
    done = train(network, data, DistillationLoss(1.0, 1.0), Training(3, 30.0, 8), held_out=data)
    assert done.epochs == 0
    assert all(torch.equal(v, best[k]) for k, v in network.state_dict().items())


def test_a_batch_of_one_does_not_stop_batch_norm():
    data = examples(65)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    assert train(network, data, DistillationLoss(0.5, 1.0), Training(2, 0.05, 16)).epochs == 2


def test_an_image_network_on_vectors_is_said():
    problem = task(n=60, m=40)
    with pytest.raises(StudentError, match="A cnn needs images"):
        tu.curves(problem, student("cnn:width=4"), **GRID)


def test_a_users_own_network_from_the_command_line(tmp_path, monkeypatch, capsys):
    task(n=60, m=40).save(tmp_path / "task.npz")
    (tmp_path / "own_student.py").write_text(
        "from torch import nn\n\n\ndef make(input_shape, n_outputs):\n    return"
        " nn.Sequential(nn.Linear(input_shape[0], 8), nn.ReLU(), nn.Linear(8, n_outputs))\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = [
        "plan",
        "task.npz",
        "--student",
        "own_student:make",
        "--warm-starts",
        "1",
        "--soft-ratio",
        "0.2,1",
        "--temperature",
        "1",
        "--warm-epochs",
        "3",
        "--learning-rate",
        "0.05",
        "--out",
        "found",
    ]
    assert cli.run(arguments) == 0
    out, err = capsys.readouterr()
    assert "soft ratio" in out
    assert err == ""
    assert (tmp_path / "found" / "report.html").exists()
    for extra, message in (
        (["--orderings", "2"], "a network takes --warm-starts"),
        (["--warm-epochs", "many"], "expected a whole number of 1 or more, or auto"),
        (["--linearise", "hot"], "linearised warm or at init"),
        (["--learning-rate", "-1"], "expected a positive, finite number"),
    ):
        assert cli.run([*arguments, *extra]) == 2
        assert message in capsys.readouterr().err
    sys.modules.pop("own_student")


def test_a_small_pool_is_said():
    with pytest.raises(tu.TutelageError, match="needs at least 40"):
        tu.curves(task(n=30), warm(), **GRID)
    with pytest.raises(SettingError, match="sizes lie in 15 … 60"):
        tu.curves(task(n=60), warm(), sizes=[10], **GRID)


def test_saved_curves_give_the_same_plan_and_so_does_the_same_seed(tmp_path):
    problem = task(n=60, m=40)
    found = tu.curves(problem, warm(), **GRID)
    tu.save_curves(found, tmp_path / "curves.nc")
    made = tu.plan(problem, curves=found)
    made.to_html(tmp_path / "report.html")
    again = untimed(tu.plan(problem, curves=tu.load_curves(tmp_path / "curves.nc")).as_dict())
    assert again == untimed(made.as_dict())
    found = tu.curves(problem, warm(), **GRID)
    assert untimed(tu.plan(problem, curves=found).as_dict()) == again
    other = tu.curves(problem, warm(), **GRID, seed=1)
    assert untimed(tu.plan(problem, curves=other).as_dict()) | {"seed": 0} != again


def test_a_learning_rate_that_was_found_is_lowered_where_it_diverges():
    data, loss = examples(), DistillationLoss(0.5, 4.0)
    wild = replace(data, x=data.x * 30)
    network, same = small((4,), 2), small((4,), 2)
    same.load_state_dict(network.state_dict())
    done = train(network, wild, loss, Training(3, 100.0, 16, attempts=12))
    assert done.learning_rate < 100 / 3
    again = train(same, wild, loss, Training(3, done.learning_rate, 16))
    assert again == done
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in network.state_dict().items())
    with pytest.raises(StudentError, match=r"diverged at a learning rate of 3\.33333e"):
        train(small((4,), 2), wild, loss, Training(3, 1e9, 16, attempts=2))


def test_the_warm_start_follows_the_teacher_before_the_labels():
    """Where every label is wrong, neither a low soft ratio nor a T of 4 without T² would."""
    data = examples()
    opposite = replace(data, labels=1 - data.labels)
    start = warm(training=Training(20, 0.05, 16))
    tangent = start.start(opposite, seed=1)
    follows = tangent.logits(data.x).argmax(1) == data.teacher[:, 0].argmax(1)
    assert follows.double().mean() > 0.8


def test_the_warm_start_is_middling_whatever_the_temperatures_power():
    """Without T² a temperature of 4 would hand the loss to the labels, and the start would learn
    the wrong ones."""
    problem = task(n=60, m=40)
    paper, tools = (
        tu.curves(problem, warm(), soft_ratio=[0.5], temperature=[1.0], t_power=a, orderings=1)
        for a in (0, 2)
    )
    assert np.array_equal(
        paper.decision.values, tools.decision.values
    )  # at T = 1 the loss is the same, and so is the start


def test_adamw_trains_and_tells_its_second_moments():
    data, network = examples(), small((4,), 2)
    own = Training(10, 0.01, 16, optimiser="adamw", weight_decay=0.01)
    done = train(network, data, DistillationLoss(0.5, 2.0), own)
    assert ((network(data.x).argmax(1) != data.labels).float().mean()) < 0.2
    assert done.moments.keys() == dict(network.named_parameters()).keys()
    assert all((moment >= 0).all() and moment.max() > 0 for moment in done.moments.values())
    assert train(small((4,), 2), data, DistillationLoss(0.5, 2.0), QUICK).moments is None
    found = train(
        small((4,), 2), data, DistillationLoss(0.5, 2.0), replace(own, learning_rate=None)
    )
    assert 1e-6 < found.learning_rate < 0.1


def test_second_moments_are_not_biased_to_nothing():
    data, network = examples(), small((4,), 2)
    loss = DistillationLoss(0.5, 2.0)
    loss(network(data.x), data.teacher[:, 0], data.labels).backward()
    squares = {name: p.grad.square() for name, p in network.named_parameters()}
    done = train(network, data, loss, Training(1, 1e-6, len(data), optimiser="adamw"))
    for name, square in squares.items():
        assert_close(done.moments[name], square)


def test_a_network_for_adamw_is_linearised_with_its_moments():
    own = replace(QUICK, optimiser="adamw", learning_rate=0.01, weight_decay=0.1)
    start = warm(epochs=20, training=own).start(examples(), seed=0)
    plain = replace(start.kernel, moments=None)
    x = torch.randn(5, 4)
    assert not torch.allclose(start.kernel(x), plain(x), rtol=0.1)
    assert "AdamW divides each gradient by the root of its mean square" in start.notes[-1]
    assert start.notes[-1].endswith("weight decay is left out of what theory predicts.")
    assert start.time_per_sample == pytest.approx(20 * 0.005 / 16)


def test_schedules():
    plain = Training(10, 0.1, 10)
    assert plain.time_per_sample(0.1) == pytest.approx(10 * 0.1 / 10 / 0.1)
    assert replace(plain, annealed=True).time_per_sample(0.1) == pytest.approx(0.5)
    assert replace(plain, warmup=0.5).time_per_sample(0.1) == pytest.approx(0.75)
    assert [replace(plain, warmup=0.5).schedule(done) for done in (0, 0.25, 0.5, 1)] == [
        0,
        0.5,
        1,
        1,
    ]


def test_the_beginning_of_a_training_has_its_rates_and_then_cools():
    whole = Training(40, 0.1, annealed=True, warmup=0.1)
    first = replace(whole, epochs=10, until=0.25)
    for done in (0.0, 0.2, 0.5, 0.75):
        assert first.schedule(done) == pytest.approx(whole.schedule(done / 4))
    assert first.schedule(0.875) == pytest.approx(whole.schedule(0.875 / 4) / 2)
    assert first.schedule(1.0) == 0
    assert first.time_per_sample(0.1) < whole.time_per_sample(0.1) / 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"until": 0.0}, "was to be the first 0 of a longer one; expected a share above 0"),
        ({"optimiser": "lion"}, "The optimiser is 'lion'; expected one of sgd, adamw."),
        ({"weight_decay": -1.0}, "The weight decay is -1; expected a finite number of 0 or more."),
        ({"warmup": 1.0}, "The warm-up is 1; expected the share of the steps"),
        ({"epochs": 0}, "Training takes 1 epoch and 1 sample a batch at least"),
    ],
)
def test_trainings_that_make_no_sense_are_refused(given, message):
    with pytest.raises(SettingError, match=message):
        Training(**given)
