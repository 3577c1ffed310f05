import dataclasses

import numpy as np
import pytest

from tutelage.decisions.evidence import Evidence, paired
from tutelage.decisions.settings import choose


def evidence(
    errors, inefficiency=None, ratios=None, temperatures=None, se=0.01, m=1000, against_labels=True
):
    """Settings with the given numbers of mistakes among m, nested so that differences are sure."""
    errors = np.asarray(errors)
    s = len(errors)
    mistakes = np.arange(m)[None] < errors[:, None]
    return Evidence(
        np.linspace(0.1, 1, s) if ratios is None else np.asarray(ratios, float),
        np.ones(s) if temperatures is None else np.asarray(temperatures, float),
        mistakes[:, None],
        *(
            effort := (
                np.zeros(s) if inefficiency is None else np.asarray(inefficiency, float),
                np.full(s, se),
            )
        ),
        *effort,
        np.zeros(m, int),
        against_labels,
    )


def test_the_least_error_wins_where_it_is_sure():
    choice = choose(evidence([300, 100, 200]))
    assert (choice.chosen, choice.equally_good, choice.verdict) == (1, [1], "clear")
    assert "no other setting" in choice.why


def test_what_wrong_labels_do_to_networks_is_counted_where_labels_are_wrong():
    """0.21 q (1 - ρ)³, (3.12), as unsure as 0.3 q (1 - ρ)³."""
    made = evidence([100, 110, 130], inefficiency=[0, 0.5, 0.5], ratios=[0.0, 0.5, 1.0])
    assert choose(made).chosen == 0
    noisy = dataclasses.replace(made, wrong=0.2)
    assert np.allclose(noisy.harm, [0.042, 0.00525, 0])
    assert np.allclose(noisy.judged, [0.142, 0.11525, 0.13])
    excess, spread = noisy.excess(0, 2)
    assert np.isclose(excess, -0.03 + 0.042)
    assert np.isclose(spread, np.hypot(made.excess(0, 2)[1], 0.06))
    assert choose(noisy).chosen == 1  # the least, not the easiest of those as good
    assert np.array_equal(noisy.error, made.error)


def test_of_equals_the_lowest_inefficiency_wins():
    choice = choose(evidence([300, 100, 101, 101], inefficiency=[0, 0.5, 0.2, 0.4]))
    assert choice.equally_good == [1, 2, 3]
    assert choice.chosen == 2


def test_ties_go_to_the_higher_temperature_then_the_higher_soft_ratio():
    tied = evidence(
        [100, 100, 100, 100, 400],
        [0.2, 0.205, 0.2, 0.2, 0],
        ratios=[0.2, 0.2, 0.4, 0.3, 0.9],
        temperatures=[1, 4, 4, 8, 1],
    )
    assert choose(tied).chosen == 3
    assert choose(evidence([100, 100], [0.2, 0.2], ratios=[0.2, 0.8])).chosen == 1
    assert choose(evidence([100, 100], [0.2, 0.25], ratios=[0.2, 0.8], se=0.01)).chosen == 0


@pytest.mark.parametrize(
    ("apart", "se", "chosen"),
    [
        (0.009, [0.01, 0.01], 1),
        (0.011, [0.01, 0.01], 0),
        (0.009, [0.01, 0.0], 1),  # the larger of the two counts, whichever it is
        (0.009, [0.0, 0.01], 1),
    ],
)
def test_efforts_tie_that_are_closer_than_the_larger_of_their_standard_errors(apart, se, chosen):
    made = evidence([100, 100], [0.2, 0.2 + apart], ratios=[0.2, 0.8], se=np.array(se))
    assert choose(made).chosen == chosen


def test_of_a_network_the_least_effort_wins_not_the_least_inefficiency():
    made = evidence([100, 100], inefficiency=[0.1, 0.9])
    made = dataclasses.replace(made, effort=np.array([3.0, 2.0]))
    assert choose(made).chosen == 1


def test_the_reason_names_the_worst_setting_and_what_is_as_good():
    choice = choose(
        evidence(
            [100, 101, 100, 300, 300, 300],
            inefficiency=[0.5, 0.5, 0.1, 0.5, 0.5, 0.5],
            ratios=[0.2, 0.4, 0.4, 0.1, 0.9, 0.9],
            temperatures=[2, 4, 2, 1, 8, 1],
        )
    )
    assert (choice.chosen, choice.equally_good, choice.verdict) == (2, [0, 1, 2], "clear")
    assert (
        choice.why
        == "Predicted error 10.0 %, against 30.0 % for the worst setting (ρ = 0.9, T = 1; 20.0"
        " ± 1.3"
        " points more); 3 of 6 settings are as good (ρ = 0.2, T = 2; ρ = 0.4, T = 2; ρ = 0.4,"
        " T = 4), and of those this one is the easiest to learn."
    )


def test_many_that_are_as_good_are_said_by_where_they_lie():
    found = choose(
        evidence(
            [100, 100, 100, 100, 100, 300],
            ratios=[0.5, 0.5, 0.5, 0.5, 0.5, 0.1],
            temperatures=[1, 2, 4, 8, 16, 1],
        )
    )
    assert "5 of 6 settings are as good (ρ = 0.5, T from 1 to 16), and" in found.why


def test_at_a_soft_ratio_of_one_alone_nothing_is_tuned():
    found = choose(evidence([100, 100], ratios=[1, 1], temperatures=[1, 4]))
    assert "the temperature does not move the converged student (error 10.0 %)" in found.why
    found = choose(evidence([100, 101], ratios=[1, 1], temperatures=[1, 4]))  # of brief students
    assert (
        found.why
        == "No setting of the 2 is predicted to be surely worse than this one (error 10.0 % to"
        " 10.1 %): do not tune."
    )


def test_it_is_flat_only_where_the_worst_is_as_good_as_the_chosen():
    """One sample more is a standard error; of many settings one errs so much more by chance."""

    def chosen(worst):
        errors = [101, 100, worst]
        return choose(evidence(errors, inefficiency=[0.5, 0.2, 0.2], ratios=[0.1, 0.5, 0.9]))

    assert chosen(102).equally_good == [0, 1]
    assert [chosen(worst).verdict for worst in (102, 103, 106)] == ["flat", "flat", "clear"]


def test_labels_that_are_doubted_do_not_suffice():
    made = evidence([100, 100, 300])
    assert choose(made, labels_may_suffice=False).verdict == "clear"
    assert "labels do most of the work" not in choose(made, labels_may_suffice=False).why


def test_all_alike_is_flat():
    choice = choose(evidence([100, 100, 101]))
    assert choice.verdict == "flat"
    assert "do not tune" in choice.why


def test_labels_suffice_when_the_smallest_ratio_is_as_good_and_the_teacher_alone_is_not():
    found = choose(evidence([100, 100, 300]))
    assert found.verdict == "labels suffice"
    assert "soft ratios down to the grid's smallest (0.1) are as good" in found.why
    assert choose(evidence([100, 300, 100])).verdict == "clear"  # the teacher alone is as good
    assert choose(evidence([100, 101, 300], ratios=[0.1, 0.5, 0.9])).verdict == "clear"
    assert choose(evidence([200, 100, 300])).verdict == "clear"


def test_without_labels_nothing_is_tuned():
    found = choose(evidence([10, 10], ratios=[1, 1], temperatures=[1, 4], against_labels=False))
    assert "(disagreement with the teacher 1.0 %): do not tune." in found.why


def test_a_paired_comparison_sees_what_two_intervals_do_not():
    rng = np.random.default_rng(0)
    hard = rng.random(2000) < 0.3
    slightly_worse = hard | (rng.random(2000) < 0.01)
    difference, error = paired(slightly_worse[None], hard[None])
    assert difference > 2 * error
    assert error < 0.2 * np.hypot(hard.std(), slightly_worse.std()) / 2000**0.5


def test_a_paired_error_is_that_of_repeated_draws():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 500, 400)) < np.array([0.2, 0.25])[:, None, None]
    differences, errors = zip(
        *(paired(x[None], y[None]) for x, y in zip(a, b, strict=True)), strict=True
    )
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.1)
