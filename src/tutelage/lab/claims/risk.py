"""Claims c and d: risk and its bounds, data inefficiency and what it is tied to (§4, §5)."""

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import spearmanr

from tutelage import kernels
from tutelage._curves import curves
from tutelage.lab._distil import distil
from tutelage.lab.claims.claim import Claim
from tutelage.lab.claims.problems import at_epoch, coat_shirt, mixture
from tutelage.progress import Progress, silent
from tutelage.students.spec import network_of
from tutelage.train.training import Training

HARD, SOFT = 0.1, 1.0
QUANTITIES = {
    "oracle_risk": "measured",
    "expected_transfer_risk": "expected (4.4)",
    "power_bound": "power bound (4.2)",
    "risk_bound": "bound of the paper (4.1)",
}


def transfer_risk(*, fast: bool, seed: int = 0, progress: Progress = silent) -> Claim:
    """Claim c."""
    n = 400 if fast else 2000
    problems = {
        "Gaussian mixture, 2 features": mixture(n, 1000, seed=seed),
        "coat or shirt": coat_shirt(fast=fast, seed=seed, progress=progress),
    }
    frames, nested, total, falls = [], 0, 0, {}
    for name, task in problems.items():
        found = curves(
            task,
            kernels.mlp(),
            soft_ratio=[HARD, SOFT],
            temperature=[1.0],
            t_power=0,
            orderings=2,
            seed=seed,
            progress=progress,
        )
        found = found.isel(epoch=0) if "epoch" in found.dims else found
        inside = (found.oracle_risk <= found.power_bound + 1e-12) & (
            found.power_bound <= found.risk_bound + 1e-12
        )
        nested, total = nested + int(inside.sum()), total + inside.size
        mean = found.mean("ordering").sel(temperature=1.0)
        falls[name] = {
            rho: float(mean.transfer_risk.sel(soft_ratio=rho).isel(n=-1)) for rho in (HARD, SOFT)
        }
        frames += [_frame(mean, name, rho) for rho in (HARD, SOFT)]
    data = pd.concat(frames)
    before = data.n < data.groupby("task").n.transform(
        "max"
    )  # at n = N the bounds are 0 by definition
    speaks = (
        data[before]
        .query("quantity == 'power bound (4.2)' and soft_ratio == 1 and value < 0.5")
        .groupby("task")
        .n.min()
    )
    held = nested == total and all(at[SOFT] < at[HARD] for at in falls.values())
    told = "; ".join(
        f"{name}: the power bound at ρ = 1 falls below 50 % at n ="
        f" {speaks.get(name, 'N only, where it is 0')}, disagreement with the teacher at n = N is"
        f" {100 * at[SOFT]:.1f} % at ρ = 1 and {100 * at[HARD]:.1f} % at ρ = {HARD:g}"
        for name, at in falls.items()
    )
    chart = (
        alt.Chart(data)
        .mark_line()
        .encode(
            x=alt.X("n:Q", scale=alt.Scale(type="log", nice=False), title="training samples n"),
            y=alt.Y("value:Q", title="share of held-out samples", axis=alt.Axis(format="%")),
            color=alt.Color("quantity:N", title=None, sort=list(QUANTITIES.values())),
            column=alt.Column("soft_ratio:O", title="soft ratio"),
            row=alt.Row("task:N", title=None),
        )
        .properties(width=280, height=200)
    )
    return Claim(
        "transfer-risk",
        "Risk falls with n under its bounds, and sooner with soft labels.",
        f"measured risk, power bound and the paper's bound are nested in {nested} of {total} cases;"
        f" {told}.",
        held,
        data,
        chart,
    )


def inefficiency(*, fast: bool, seed: int = 0, progress: Progress = silent) -> Claim:
    """Claim d."""
    task = coat_shirt(fast=fast, seed=seed, progress=progress)
    ratios, sizes = [0.05, 0.3, 0.7, 1.0], [task.n_train // 9, task.n_train // 3, task.n_train]
    found = curves(
        task,
        kernels.mlp(),
        soft_ratio=ratios,
        temperature=[1.0],
        t_power=0,
        sizes=sizes,
        orderings=4,
        seed=seed,
        progress=progress,
    )
    mean = found.mean("ordering").sel(temperature=1.0).data_inefficiency
    by_ratio = mean.isel(epoch=0)
    by_epoch = mean.sel(soft_ratio=1.0)
    down, up = by_ratio.diff("soft_ratio") < 0, by_epoch.diff("epoch") > 0
    student = network_of(
        "mlp:width=256", training=Training(learning_rate=0.02), epochs=20 if fast else 60
    )
    real = distil(
        at_epoch(task, 0),
        student,
        [(rho, 1.0) for rho in ratios],
        seeds=2 if fast else 4,
        t_power=0,
        sizes=sizes,
        seed=seed,
        progress=progress,
    )
    risk = real.transfer_risk.mean("seed")
    drop = np.log(risk.isel(n=0) / risk.isel(n=-1)).values / np.log(sizes[-1] / sizes[0])
    middle = by_ratio.isel(n=1).values
    tie = float(spearmanr(middle, drop).statistic)
    data = pd.concat(
        [
            by_ratio.to_dataframe("inefficiency").reset_index().assign(figure="by soft ratio"),
            by_epoch.to_dataframe("inefficiency").reset_index().assign(figure="by epoch"),
            pd.DataFrame(
                {"soft_ratio": ratios, "inefficiency": middle, "exponent": drop, "figure": "tie"}
            ),
        ]
    )
    held = bool(down.all() and up.mean() >= 0.8 and tie < 0)
    return Claim(
        "data-inefficiency",
        "A higher soft ratio and an earlier stop lower data inefficiency, and a lower one goes with"
        " a risk that falls faster.",
        f"it fell with the soft ratio in {int(down.sum())} of {down.size} steps, rose with a later"
        f" stop in {int(up.sum())} of {up.size}; over soft ratios its rank correlation with the"
        f" exponent at which real students' disagreement falls is {tie:.2f} (exponents"
        f" {', '.join(f'{v:.2f}' for v in drop)} at ρ = {', '.join(f'{v:g}' for v in ratios)}).",
        held,
        data,
        (
            _lines(data.query("figure == 'by soft ratio'"), "soft_ratio", "soft ratio")
            | _lines(data.query("figure == 'by epoch'"), "epoch", "epoch")
        ).resolve_scale(color="independent"),
    )


def _lines(frame: pd.DataFrame, along: str, title: str) -> alt.Chart:
    return (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=alt.X("n:Q", scale=alt.Scale(type="log", nice=False), title="training samples n"),
            y=alt.Y("inefficiency:Q", title="data inefficiency"),
            color=alt.Color(f"{along}:O", title=title, scale=alt.Scale(scheme="viridis")),
        )
        .properties(width=300, height=240)
    )


def _frame(mean: xr.Dataset, name: str, rho: float) -> pd.DataFrame:
    frame = (
        mean.sel(soft_ratio=rho)[list(QUANTITIES)]
        .to_dataframe()[list(QUANTITIES)]
        .rename(columns=QUANTITIES)
        .reset_index()
    )
    return frame.melt("n", var_name="quantity").assign(task=name, soft_ratio=rho)
