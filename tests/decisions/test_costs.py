import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.decisions.costs import Offer, along, ranked, spends

WEAK = Offer([100, 1000], [0.30, 0.20], [0.02, 0.01], cost=1.0)
STRONG = Offer([100, 400, 1000], [0.28, 0.15, 0.10], [0.03, 0.02, 0.01], cost=10.0)
OFFERS = {"weak": WEAK, "strong": STRONG}


def test_an_amount_buys_what_it_costs_and_no_more_than_the_pool():
    assert [(b.n, b.error, b.error_se) for b in map(WEAK.bought, (100, 1000, 1e6))] == [
        (100, 0.30, 0.02), (1000, 0.20, 0.01), (1000, 0.20, 0.01),
    ]  # fmt: skip
    assert WEAK.bought(99.9) is None
    assert WEAK.bought(100.9).n == 100
    assert Offer([3], [0.1], [0.1], cost=0.1).bought(0.3).n == 3  # 0.3 / 0.1 is less than 3


def test_between_sizes_errors_fall_along_the_logarithm():
    assert WEAK.bought(1000**0.5 * 10 * 1.0001).error == pytest.approx(0.25, abs=1e-3)


def test_sizes_without_an_error_are_passed_over():
    offer = Offer([100, 400, 1000], [None, 0.2, 0.1], [None, 0.02, 0.01], cost=2.0)
    assert offer.least == 800
    assert offer.bought(799) is None
    assert offer.bought(800).error == 0.2


def test_an_error_of_nothing_is_known():
    assert Offer([10, 20], [0.0, 0.0], [0.1, 0.1], cost=1.0).least == 10


def test_teachers_are_ranked_by_what_an_amount_buys():
    assert [name for name, _ in ranked(OFFERS, 500)] == ["weak"]
    assert [name for name, _ in ranked(OFFERS, 1000)] == ["weak", "strong"]
    assert [name for name, _ in ranked(OFFERS, 4000)] == ["strong", "weak"]


def test_amounts_are_round_and_end_with_the_dearest_pool():
    assert spends(OFFERS) == [100, 200, 500, 1000, 2000, 5000, 10000]
    assert spends({"a": Offer([30, 70], [0.2, 0.1], [0.1, 0.1], 0.1)}) == pytest.approx([5, 7])
    assert spends({"a": Offer([30], [0.2], [0.1], 1.0)}) == [30]


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 400))
def test_each_amount_buys_something_and_more_never_less(one, other, n):
    sizes = [n, 2 * n, 5 * n]
    offers = {
        name: Offer(sizes, [0.3, 0.2, 0.1], [0.01] * 3, cost)
        for name, cost in (("a", one), ("b", other))
    }
    for amounts in (spends(offers), along(offers)):
        assert (np.diff(amounts) >= 0).all()
        best = [ranked(offers, spend)[0][1].error for spend in amounts]
        assert (np.diff(best) <= 1e-12).all()
        assert best[-1] == pytest.approx(0.1)


def test_how_far_one_is_behind_another_is_as_unsure_as_both():
    apart, spread = WEAK.bought(1000).behind(STRONG.bought(10000))
    assert (apart, spread) == pytest.approx((0.1, 0.01 * 2**0.5))
