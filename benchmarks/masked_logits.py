"""Teachers that keep their top logits only: what is predicted beside what real students do.

python benchmarks/masked_logits.py          three minutes on two cores

Digits, scikit-learn's teacher stopped early; the logits below its top k are -10,000. Predicted by
the closed form with (2.4), real students of width 512 trained for 60 epochs, two of each.
"""

import numpy as np
from scipy.stats import spearmanr

import tutelage as tu
from tutelage.lab.quick import EPOCHS, quick_task

RATIOS, TEMPERATURES = [0.1, 0.3, 0.6, 1.0], [1.0, 2.0, 4.0]
CASES = [(2, 3), (2, 5), (8, 3), (1, 2)]  # the teacher's epoch, and k


def main() -> None:
    """Print a table for each teacher."""
    whole = quick_task("digits")
    for epoch, top in CASES:
        task = masked(whole, EPOCHS.index(epoch), top)
        curves = tu.curves(
            task,
            tu.kernels.mlp(),
            soft_ratio=RATIOS,
            temperature=TEMPERATURES,
            sizes=[task.n_train],
            orderings=1,
        )
        predicted = 100 * curves.error.isel(ordering=0, n=-1).values.ravel()
        settings = [(rho, t) for rho in RATIOS for t in TEMPERATURES]
        student = tu.lab.network_of("mlp:width=512,depth=3", epochs=60)
        real = (
            100 * tu.lab.distil(task, student, settings, seeds=2).error.mean("seed").values.ravel()
        )
        rank = spearmanr(predicted, real).statistic
        print(
            f"\nepoch {epoch}, top {top} of 10: {abs(predicted - real).mean():.1f} points apart on"
            f" average, rank correlation {rank:.2f}"
        )
        print("soft ratio  temperature  predicted %  real %")
        for (rho, t), p, r in zip(settings, predicted, real, strict=True):
            print(f"{rho:10g}  {t:11g}  {p:11.1f}  {r:6.1f}")


def masked(whole: tu.Task, index: int, top: int) -> tu.Task:
    """The task of one epoch's teacher, of whose logits the top ones are kept."""

    def kept(z: np.ndarray) -> np.ndarray:
        return np.where(z < np.sort(z, 1)[:, -top][:, None], -1e4, z)

    return tu.Task(
        x_train=whole.x_train,
        teacher_logits_train=kept(whole.teacher_logits("train")[index]),
        y_train=whole.y_train,
        x_test=whole.x_test,
        teacher_logits_test=kept(whole.teacher_logits("test")[index]),
        y_test=whole.y_test,
    )


if __name__ == "__main__":
    main()
