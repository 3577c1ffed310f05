"""Claims e and f: which soft ratio is best with a perfect teacher, and with imperfect ones (§6)."""

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from tutelage._curves import curves
from tutelage.data.task import Task
from tutelage.lab._distil import distil
from tutelage.lab.claims.claim import Claim
from tutelage.lab.claims.problems import coat_shirt, mixture, redrawn
from tutelage.progress import Progress, silent
from tutelage.students.spec import network_of
from tutelage.train.training import Training

RATIOS = [0.05, 0.3, 0.5, 0.7, 0.9, 1.0]
_TRAINING = Training(learning_rate=0.02)


def perfect_teacher(*, fast: bool, seed: int = 0, progress: Progress = silent) -> Claim:
    """Claim e."""
    task = mixture(300 if fast else 1000, 4000, features=10, seed=seed)
    found = _predicted_and_real(
        task, RATIOS, "Bayes' rule", fast=fast, seed=seed, progress=progress
    )
    real, best = found.real.to_numpy(), found.soft_ratio.to_numpy()[found.real.argmin()]
    accuracy = task.teacher_accuracy("test")
    assert accuracy is not None
    own = 100 * (1 - float(accuracy[0]))
    return Claim(
        "perfect-teacher",
        "With a perfect teacher the best soft ratio is high.",
        f"real students err least at ρ = {best:g} ({100 * real.min():.1f} %; {100 * real[-1]:.1f} %"
        f" at ρ = 1, {100 * real[0]:.1f} % at ρ = {RATIOS[0]:g}; the teacher {own:.1f} %).",
        bool(best >= 0.7),
        found,
        _chart(found),
    )


def imperfect_teacher(*, fast: bool, seed: int = 0, progress: Progress = silent) -> Claim:
    """Claim f."""
    whole = coat_shirt(fast=fast, seed=seed, progress=progress)
    accuracy = whole.teacher_accuracy("test")
    assert accuracy is not None
    ratios = [0.05, 0.3, 0.7, 1.0] if fast else RATIOS
    frames = []
    for epoch in (0, len(accuracy) - 1):
        for noise in (0.0, 0.4) if fast else (0.0, 0.2, 0.4):
            task = redrawn(whole, noise, epoch=epoch, seed=seed)
            name = (
                f"teacher errs on {100 * (1 - accuracy[epoch]):.0f} %, {100 * noise:.0f} % of"
                " labels redrawn"
            )
            frames.append(
                _predicted_and_real(
                    task, ratios, name, fast=fast, seed=seed, progress=progress
                ).assign(noise=noise, epoch=epoch)
            )
    data = pd.concat(frames, ignore_index=True)
    best = data.loc[data.groupby("task", sort=False).real.idxmin().tolist()]
    weak = best.query("epoch == 0 and noise == 0").soft_ratio.item()
    noisy = best.query(f"epoch == {len(accuracy) - 1} and noise == 0.4").soft_ratio.item()
    with_labels = data[data.soft_ratio < 1]
    said, really = int(with_labels.helps.sum()), int((with_labels.real < with_labels.alone).sum())
    told = [
        f"{row['task']}: best ρ = {row['soft_ratio']:g} ({100 * row['real']:.1f} %;"
        f" {100 * row['alone']:.1f} % at ρ = 1)"
        for row in best.to_dict("records")
    ]
    return Claim(
        "imperfect-teacher",
        "With an imperfect teacher the best soft ratio lies below 1, as labels pull the student"
        " over where the teacher is wrong; with wrong labels it rises.",
        f"{'; '.join(told)}. With the labels as its reference direction §6 says that they help in"
        f" {said} of {len(with_labels)} cases; really they do in {really}.",
        bool(weak < 1 and noisy > weak),
        data,
        _chart(data),
    )


def _predicted_and_real(
    task: Task, ratios: list[float], name: str, *, fast: bool, seed: int, progress: Progress
) -> pd.DataFrame:
    """Errors of a width-256 MLP by soft ratio, T = 1: predicted by its warm tangent, and of really
    trained ones.
    """
    epochs, starts = (20, 1) if fast else (60, 3)
    student = network_of("mlp:width=256", training=_TRAINING, epochs=epochs)
    found = curves(
        task,
        student,
        soft_ratio=ratios,
        temperature=[1.0],
        t_power=0,
        sizes=[task.n_train],
        orderings=starts,
        seed=seed,
        progress=progress,
    )
    at = found.isel(n=-1, temperature=0).mean("ordering")
    trained = distil(
        task,
        student,
        [(rho, 1.0) for rho in ratios],
        seeds=2 if fast else 4,
        t_power=0,
        seed=seed,
        progress=progress,
    )
    real = trained.error.isel(n=0).mean("seed").values
    return pd.DataFrame({
        "task": name,
        "soft_ratio": ratios,
        "predicted": at.error.values,
        "real": real,
        "alone": real[-1],
        "helps": _helps(at),
        "cos_effective_reference": at.cos_effective_reference.values,
        "cos_teacher_reference": at.cos_teacher_reference.values,
    })  # fmt: skip


def _helps(at: xr.Dataset) -> np.ndarray:
    """Whether the labels turn the student towards the direction that labels point in, §6."""
    found: np.ndarray = (at.cos_effective_reference > at.cos_teacher_reference).values
    return found


def _chart(data: pd.DataFrame) -> alt.Chart:
    errors = data.melt(["task", "soft_ratio"], ["predicted", "real"], var_name="error of")
    return (
        alt.Chart(errors)
        .mark_line(point=True)
        .encode(
            x=alt.X("soft_ratio:Q", title="soft ratio"),
            y=alt.Y(
                "value:Q",
                title="test error",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(zero=False),
            ),
            color=alt.Color("error of:N", title=None),
        )
        .properties(width=260, height=200)
        .facet("task:N", columns=2)
        .resolve_scale(y="independent")
    )
