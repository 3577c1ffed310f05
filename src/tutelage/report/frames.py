"""Curves as the flat tables that charts are drawn from."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from tutelage.decisions.costs import Offer, along
from tutelage.decisions.evidence import standard_error

INTERVAL = 1.96  # standard errors to either side: 95 %
RISKS = {
    "error": "error against labels",
    "transfer_risk": "disagreement with the teacher",
    "expected_transfer_risk": "expected risk (4.4)",
}
BOUNDS = {
    "oracle_risk": "disagreement with the pool's student",
    "power_bound": "power bound (4.2)",
    "risk_bound": "Ji and Zhu's bound (4.1)",
}


def one_epoch(curves: xr.Dataset, epoch: int | None) -> xr.Dataset:
    """The curves of the recommended epoch, without an epoch axis."""
    return curves if epoch is None else curves.sel(epoch=epoch)


def plans_frame(plans: dict[str, dict[str, Any]], names: list[str]) -> pd.DataFrame:
    """What plans predict of the settings that they recommend, with intervals, in this order."""
    found = [plans[name]["recommended"] for name in names]
    columns = {"plan": names, **{k: [r[k] for r in found] for k in ("error", "error_se")}}
    sizes = [plans[name]["made_for"] for name in names]
    columns |= {k: [of.get(k) for of in sizes] for k in ("parameters", "operations")}
    return _with_interval(
        pd.DataFrame(columns).rename(columns={"error": "value"}), "value", "error_se"
    )


def costs_frame(offers: dict[str, Offer]) -> pd.DataFrame:
    """The error that amounts buy of each teacher, with intervals, one row each."""
    found = [(name, s, o.bought(s)) for name, o in offers.items() for s in along(offers)]
    rows = [
        {"plan": name, "spend": min(spend, offers[name].most), **vars(bought)}
        for name, spend, bought in found
        if bought is not None
    ]
    frame = pd.DataFrame(rows).drop_duplicates(["plan", "n"])
    return _with_interval(frame.rename(columns={"error": "value"}), "value", "error_se")


def settings_frame(data: xr.Dataset) -> pd.DataFrame:
    """Error and correction angles of every setting at every n, with intervals."""
    names = [v for v in ("error", "transfer_risk", "data_inefficiency") if v in data]
    names += [str(v) for v in data.data_vars if str(v).startswith("cos_")]
    frame = data[names].mean("ordering").to_dataframe().reset_index()
    shown = "error" if "error" in data else "transfer_risk"
    spread = _standard_error(data, shown).rename("se").to_dataframe().reset_index()
    frame["se"] = spread["se"]
    frame["shown"] = frame[shown]
    return _with_interval(frame, "shown", "se")


def _standard_error(data: xr.Dataset, name: str) -> xr.DataArray:
    """Of a share, as tables have it."""
    if f"{name}_se" in data:
        return data[f"{name}_se"]
    shares = data[name].transpose("ordering", ..., "n")
    return shares[0].copy(data=standard_error(shares.values, data.evaluated.values))


def risks_frame(data: xr.Dataset, labels: dict[str, str]) -> pd.DataFrame:
    """Several kinds of error and risk of one setting over n, one row each."""
    parts = []
    for name, label in labels.items():
        if name in data:
            frame = pd.DataFrame({"n": data.n.values, "value": data[name].mean("ordering").values})
            frame["se"] = (
                _standard_error(data, name).values if name in ("error", "transfer_risk") else 0.0
            )
            parts.append(frame.assign(quantity=label))
    return _with_interval(pd.concat(parts), "value", "se")


def inefficiency_frame(data: xr.Dataset, along: str) -> pd.DataFrame:
    """Data inefficiency over n along one dim, with intervals over orderings or held-out samples."""
    mean = data.data_inefficiency.mean("ordering")
    orderings = data.sizes["ordering"]
    own = data.data_inefficiency_se.mean("ordering")
    between = (
        data.data_inefficiency.std("ordering", ddof=1) / orderings**0.5
        if orderings > 1
        else 0 * own
    )
    frame = (
        xr.Dataset({"value": mean, "se": np.hypot(own / orderings**0.5, between)})
        .to_dataframe()
        .reset_index()
    )
    return _with_interval(frame[[along, "n", "value", "se"]], "value", "se", top=np.inf)


def _with_interval(frame: pd.DataFrame, value: str, se: str, top: float = 1.0) -> pd.DataFrame:
    frame["low"] = (frame[value] - INTERVAL * frame[se]).clip(0, None)
    frame["high"] = (frame[value] + INTERVAL * frame[se]).clip(None, top)
    return frame


def verified_frame(verification: dict[str, Any]) -> pd.DataFrame:
    """Give settings that were predicted and trained, with both errors and their 95 % intervals."""
    rows = [row for row in verification["rows"] if row["predicted"] is not None]
    frame = pd.DataFrame(rows)
    for name in ("predicted", "real"):
        half = 1.96 * frame[f"{name}_se"]
        frame[f"{name}_low"], frame[f"{name}_high"] = (
            (frame[name] - half).clip(lower=0),
            frame[name] + half,
        )
    frame["setting"] = [f"ρ = {row['soft_ratio']:g}, T = {row['temperature']:g}" for row in rows]
    return frame
