import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import problem
from tolerances import assert_close
from tutelage.theory.factor import factor, solve
from tutelage.theory.imperfect_teacher import angles, reference_logits, split_disagreements

SIZES = [5, 17, 30]


def weights(p, jitter, z, n):
    return z[:n], torch.linalg.solve(
        p.theta[:n, :n] + jitter * torch.eye(n, dtype=torch.float64), z[:n]
    )


def cosine(p, jitter, a, b, n):
    (za, wa), (zb, wb) = weights(p, jitter, a, n), weights(p, jitter, b, n)
    return (za * wb).sum() / ((za * wa).sum() * (zb * wb).sum()).sqrt()


def test_cosines_agree_with_separate_fits():
    p = problem(n=30)
    factored = factor(p.theta)
    t, g = torch.randn(30, 3, dtype=torch.float64), torch.randn(30, 3, dtype=torch.float64)
    effective = torch.stack([p.targets, t], 1)  # the second setting corrects nothing
    u = solve(factored, effective.flatten(1)).reshape(30, 2, 3)
    found = angles(solve(factored, t), u, solve(factored, g), SIZES)
    for k, n in enumerate(SIZES):
        args = (p, factored.jitter)
        assert_close(found.teacher_reference[k, 0], cosine(*args, t, g, n))
        assert_close(found.correction_reference[k, 0], cosine(*args, p.targets - t, g, n))
        assert_close(found.correction_teacher[k, 0], cosine(*args, p.targets - t, t, n))
        assert_close(found.effective_reference[k, 0], cosine(*args, p.targets, g, n))
        assert found.correction_reference[k, 1] == 0
        assert_close(found.effective_reference[k, 1], found.teacher_reference[k, 1])


@given(seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_labels_help_first_order_exactly_when_a_little_of_the_correction_turns_toward_the_reference(
    seed,
):
    generator = torch.Generator().manual_seed(seed)
    t, correction, g = torch.randn(3, 12, 1, generator=generator, dtype=torch.float64)
    found = angles(t, (t + 1e-6 * correction)[:, None], g, [12])
    turned = found.effective_reference[0, 0] - found.teacher_reference[0, 0]
    assert found.labels_help_first_order[0, 0] == (turned > 0)
    assert found.labels_help[0, 0] == (turned > 0)


def test_reference_logits_are_centred_labels():
    y = torch.tensor([0, 2])
    assert_close(
        reference_logits(y, 3), torch.tensor([[2.0, -1, -1], [-1, -1, 2]], dtype=torch.float64) / 3
    )
    assert_close(reference_logits(torch.tensor([0, 1]), 1), torch.tensor([[-1.0], [1.0]]))


def test_the_split_covers_every_disagreement_once():
    generator = torch.Generator().manual_seed(0)
    teacher, labels, low, high = torch.randint(0, 3, (4, 500), generator=generator)
    split = split_disagreements(teacher, labels, low, high)
    parts = [split.label_corrects_teacher, split.teacher_corrects_label, split.undecided]
    together = torch.cat(parts).sort()[0]
    assert torch.equal(together, (teacher != labels).nonzero()[:, 0])
    assert all(len(part) > 0 for part in parts)
    assert (low[parts[0]] == labels[parts[0]]).all()
    assert (high[parts[1]] == teacher[parts[1]]).all()
