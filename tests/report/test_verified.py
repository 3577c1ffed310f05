import pytest

from tutelage.report.verified import better, conclusion

ROWS = [
    {"predicted": 0.20, "predicted_se": 0.01, "real": 0.26, "real_se": 0.01},
    {"predicted": 0.20, "predicted_se": 0.01, "real": 0.21, "real_se": 0.01},
    {"predicted": None, "predicted_se": None, "real": 0.30, "real_se": 0.01},
]


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
                " best of them (soft ratio 0.7, temperature 4), which may be chance: keep it."
            ),
        ),
    ],
)
def test_real_students_have_the_last_word(regret, se, said):
    verified = {
        "best": (0.7, 4.0), "regret": regret, "regret_se": se, "students": 12, "rows": ROWS,
    }  # fmt: skip
    assert (
        conclusion(verified)
        == f"{said} Their errors are 3.5 points higher than predicted on average; 1 of 2 differ by"
        " more than two standard errors."
    )


def test_levels_that_are_as_predicted_are_said_to_be():
    verified = {"best": (0.7, 4.0), "regret": 0.0, "regret_se": 0.0, "students": 4}
    said = conclusion(verified | {"rows": ROWS[1:]})
    assert said.endswith(
        "Their errors are 1.0 points higher than predicted on average; none differs by more than"
        " two standard errors."
    )
    said = conclusion(verified | {"rows": ROWS[2:]})
    assert (
        said
        == "4 real students: only the recommended setting was trained. No error was predicted of"
        " them."
    )


def test_what_real_students_say_surely_supersedes_the_plan():
    verified = {"best": (0.3, 8.0), "regret": 0.0133, "regret_se": 0.0066}
    assert better(verified) == (0.3, 8.0)
    assert better(verified | {"regret_se": 0.007}) is None
    assert better(None) is None
