import pytest

from tutelage.report.verified import conclusion


@pytest.mark.parametrize(
    ("regret", "se", "said"),
    [
        (
            0.0,
            0.0,
            "12 real students: the recommended setting erred least of those that were trained.",
        ),
        (
            0.0172,
            0.0079,
            (
                "12 real students: the recommended setting erred 1.72 ± 0.79 points more than the"
                " best of them (soft ratio 0.7, temperature 4). Use that one."
            ),
        ),
        (
            0.005,
            0.004,
            (
                "12 real students: the recommended setting erred 0.50 ± 0.40 points more than the"
                " best of them (soft ratio 0.7, temperature 4), which may be chance."
            ),
        ),
    ],
)
def test_real_students_have_the_last_word(regret, se, said):
    verified = {"best": (0.7, 4.0), "regret": regret, "regret_se": se, "students": 12}
    assert conclusion(verified) == said
