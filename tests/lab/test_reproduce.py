import csv

import numpy as np
import pytest
import torch

from needed import needed
from problems import task
from tutelage import cli, datasets
from tutelage.exceptions import SettingError, StudentError
from tutelage.kernels import empirical, mlp
from tutelage.lab import reproduce
from tutelage.lab.claims.problems import redrawn
from tutelage.train import networks


def test_a_network_in_ntk_parametrisation_has_the_closed_forms_kernel_when_it_is_wide():
    torch.manual_seed(0)
    x = torch.randn(12, 5)
    sampled = [
        empirical(networks.mlp(2048, 2, parametrisation="ntk")((5,), 1))(x) for _ in range(6)
    ]
    closed = mlp(depth=2)(x.double())
    mean = torch.stack(sampled).mean(0).double()
    assert torch.linalg.norm(mean - closed) / torch.linalg.norm(closed) < 0.03
    standard = empirical(networks.mlp(2048, 2)((5,), 1))(x).double()
    assert torch.linalg.norm(standard - closed) / torch.linalg.norm(closed) > 0.5


def test_a_parametrisation_that_is_not_known_is_said():
    with pytest.raises(StudentError, match="expected one of standard, ntk"):
        networks.mlp(8, parametrisation="mup")


@pytest.mark.parametrize("claim", ["effective-logits", "kernel-solution"])
def test_wide_students_arrive_where_theory_says(claim, tmp_path):
    found = reproduce(claim, fast=True)
    assert found.held, found.line
    found.save(tmp_path)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".png", ".svg", ".txt"]
    assert (tmp_path / f"{claim}.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / f"{claim}.svg").read_text()
    with (tmp_path / f"{claim}.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(found.data)
    assert (tmp_path / f"{claim}.txt").read_text().startswith(f"{claim}: ")


def test_the_best_soft_ratio_of_a_perfect_teacher_is_high(capsys, tmp_path):
    assert cli.run(["reproduce", "perfect-teacher", "--fast", "--out", str(tmp_path)]) == 0
    assert "It held" in capsys.readouterr().out.replace("\n", " ")
    assert (tmp_path / "perfect-teacher.svg").exists()


def test_real_images_and_imperfect_teachers():
    needed(datasets.FASHION_MNIST_FOLDER)
    found = reproduce("imperfect-teacher", fast=True)
    assert found.held, found.line
    assert len(found.data) == 16


def test_risk_and_inefficiency_on_real_images():
    needed(datasets.FASHION_MNIST_FOLDER)
    for claim in ("transfer-risk", "data-inefficiency"):
        found = reproduce(claim, fast=True)
        assert found.held, found.line


def test_redrawn_labels_are_the_share_that_was_asked_for():
    problem = task(n=2000, m=10, epochs=[1, 3])
    found = redrawn(problem, 0.4, epoch=1)
    changed = float((found.y_train != problem.y_train).mean())
    assert changed == pytest.approx(0.4 * 2 / 3, abs=0.04)  # one in three is drawn as it was
    assert np.array_equal(found.teacher_logits_train, problem.teacher_logits_train[1])
    assert np.array_equal(found.y_test, problem.y_test)


def test_a_claim_that_is_not_known_is_said():
    with pytest.raises(
        SettingError,
        match=(
            r"no claim 'perfect'; choose one of effective-logits, .*did you mean perfect-teacher\?"
        ),
    ):
        reproduce("perfect")
