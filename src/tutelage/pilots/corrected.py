"""Curves within a budget: theory on a part of the pool, then pilots, real students that correct it
(docs/theory.md §3.3).
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from tutelage._curves import SOFT_RATIOS, TEMPERATURES, check
from tutelage._curves import curves as compute
from tutelage.data.part import Part
from tutelage.data.task import Task
from tutelage.decisions.evidence import Evidence, standard_error
from tutelage.decisions.labels import labelling, with_fewer
from tutelage.decisions.settings import choose
from tutelage.decisions.teacher import choose_epoch
from tutelage.devices import found_device
from tutelage.pilots.budget import PROBES, WHOLE, Budget, priced
from tutelage.pilots.kept import Kept
from tutelage.pilots.runs import Pilot, Runs
from tutelage.pilots.surface import Surface
from tutelage.progress import Progress, remark, silent
from tutelage.solve import Scale
from tutelage.students import TorchStudent
from tutelage.theory.pilots import WIDE, places, regrets
from tutelage.variables import SCHEMA

_UNTOLD = (
    "What labels of all samples would bring is not told, as the budget has no room for it; a larger"
    " one (--budget {enough:g}) has."
)


def within(
    task: Task, student: TorchStudent, budget: Budget, *, orderings: int | None = None,
    t_power: int = 2, seed: int = 0, standardise: bool = True, device: str = "auto",
    progress: Progress = silent, **options: Any,
) -> xr.Dataset:  # fmt: skip
    """Compute curves of a part of the pool, and correct them by real students.

    Parameters
    ----------
    task : Task
        With a labelled test part.
    student : TorchStudent
    budget : Budget
    orderings : int, optional
        Brief trainings to average; by default up to 3, as the budget allows.
    t_power, seed, standardise, device, progress, **options
        See `tutelage.curves`.

    Returns
    -------
    xarray.Dataset
        As `tutelage.curves` gives it, with N among its sizes, errors and transfer risks corrected,
        and the pilots.
    """
    started = time.perf_counter()
    given = {name: value for name, value in options.items() if name not in WHOLE}
    ratios, heats = given.get("soft_ratio", SOFT_RATIOS), given.get("temperature", TEMPERATURES)
    check(
        task, soft_ratio=ratios, temperature=heats, t_power=t_power, orderings=orderings, seed=seed,
        dtype=given.get("dtype", "float64"), progress=progress,
    )  # fmt: skip
    x, test = task.inputs(torch.float32, standardise=standardise, ids=student.takes_ids)
    assert test is not None
    whole = task.part("train", x).floating(torch.float32)
    training = replace(student.training, device=found_device(device).type)
    searched = student.training.learning_rate is None
    student = replace(student, training=training).settled(whole, seed=seed, progress=progress)
    settings = len(ratios if task.y_train is not None else [1.0]) * len(heats)
    fingerprint = {
        "task": task.fingerprint, "t_power": t_power, "seed": seed, "standardised": standardise,
        **given,
    }  # fmt: skip
    kept = Kept.of(options.get("scale", Scale()).checkpoint, fingerprint, student, whole)
    student, prices = priced(
        student, whole, task.n_test, budget, orderings,
        t_power=t_power, settings=settings, found=searched,
    )  # fmt: skip
    fewer = with_fewer(task, seed)
    used, count = prices.affordable(budget, orderings, beside=fewer is not None)
    untold = fewer is not None and not prices.tells(used, budget, count + 1)
    fewer = None if untold else fewer
    spent = prices.search + (count + (fewer is not None)) * prices.theory(used)
    most = max(spent, budget.trainings)
    remark(
        progress,
        f"{task.n_train:,} samples: theory on {used:,} of them, {count} start(s), as much as"
        f" {spent:.2g} trainings of the student; with pilots {most:.2g} at"
        f" most, about {prices.seconds * most:.0f} s",
    )

    def theory(of: Task, starts: int) -> xr.Dataset:
        return linearised(
            of, student, used, orderings=starts, t_power=t_power, seed=seed,
            standardise=standardise, device=device, progress=progress, **given,
        )  # fmt: skip

    named = f"theory-{used}-{student.last}"
    data = kept.curves(f"{named}-{count}", lambda: theory(task, count))
    epoch = _epoch(task, data)
    if fewer is not None:
        beside = kept.curves(f"{named}-fewer", lambda: theory(fewer, 1))
        both = [d.isel(epoch=epoch) if "epoch" in d.dims else d for d in (data, beside)]
        data.attrs["labelling"] = json.dumps(asdict(labelling(task, *both)))
    if untold:
        data.attrs["notes"] = json.dumps(
            [
                *json.loads(data.attrs["notes"]),
                _UNTOLD.format(enough=prices.enough(budget, orderings)),
            ]
        )
    last = student.last is not None
    surface = Surface.of(data, task, epoch, last=last)
    order = torch.as_tensor(np.random.default_rng([seed, 0]).permutation(task.n_train))
    assert whole.teacher is not None
    taught = Part(whole.x, whole.teacher[:, [epoch]], whole.labels).rows(order)
    runs = Runs(task, student, epoch, taught, test, t_power, seed, budget, spent, progress, kept)
    found = runs.pilots(surface)
    corrected = _with_votes(data, task, epoch, order, found, surface)
    corrected = _corrected(corrected, "error", surface, runs, found)
    if "transfer_risk" in data and task.teacher_logits_test is not None:
        disagreement = Surface.of(data, task, epoch, "transfer_risk", last=last)
        corrected = _corrected(corrected, "transfer_risk", disagreement, runs, found)
    return _described(corrected, surface, runs, found).assign_attrs(
        predicted_seconds=prices.seconds * most,
        seconds=time.perf_counter() - started,
    )


def linearised(task: Task, student: TorchStudent, used: int, **options: Any) -> xr.Dataset:
    """Compute curves of a part of the pool, of starts that have each seen half of it."""
    brief = replace(student, probes=PROBES, first=0.5, judged=False)
    return compute(task, brief, pool=used, sizes=[used // 2, used], **options)


def _epoch(task: Task, data: xr.Dataset) -> int:
    """The teacher's epoch that theory chooses."""
    if "epoch" not in data.dims:
        return 0
    evidences = [Evidence.of(task, data.isel(epoch=e), e) for e in range(data.sizes["epoch"])]
    return choose_epoch(evidences, [choose(evidence) for evidence in evidences])


def _corrected(
    data: xr.Dataset, name: str, surface: Surface, runs: Runs, found: list[Pilot]
) -> xr.Dataset:
    """Put in what is to be expected now, at all sizes, and how sure that is. Students of fewer
    samples are not expected to be better.
    """
    n = len(runs.taught)
    sizes = sorted({*data.n.values.tolist(), n, n // 4, n // 8})
    shape = (data.sizes["soft_ratio"], data.sizes["temperature"], len(sizes))
    share = np.array(sizes) / n
    doubt = np.array([surface.doubt(size) for size in sizes])
    where = places(surface.soft_ratio[:, None], surface.temperature[:, None], share, doubt)
    predicted = np.stack([surface.at(size) for size in sizes], 1)
    known = runs.known(surface, found, name)
    mean, _ = known.corrected(where, predicted.ravel())
    unsure = replace(known, wrong=surface.wrong)
    _, covariance = unsure.corrected(where, predicted.ravel())
    tested = np.array(runs.task.n_test)
    sampled = standard_error(mean[None], tested)
    spread = np.hypot(sampled, np.sqrt(np.clip(np.diag(covariance), 0, None))).reshape(shape)
    wider = data.reindex(n=sizes).assign(evaluated=("n", np.full(len(sizes), tested)))
    dims = ("soft_ratio", "temperature", "n")
    falling = np.maximum.accumulate(mean.reshape(shape)[..., ::-1], -1)[..., ::-1]
    level = xr.DataArray(falling, dims=dims, coords={"n": sizes})
    if "epoch" in data.dims:  # epochs differ as theory says
        of_epochs = data[name].sel(n=surface.used, drop=True).mean("ordering")
        level = level + of_epochs - of_epochs.isel(epoch=runs.epoch, drop=True)
    same = xr.ones_like(data.ordering, dtype=float)
    wider[name] = (level.clip(0, 1) * same).transpose(*data[name].dims)
    wider[name].attrs = data[name].attrs
    wider[f"{name}_se"] = (dims, spread, SCHEMA[f"{name}_se"].attributes)
    if name == "error":
        at_n = slice(len(sizes) - 1, None, len(sizes))
        wider["error_linearised"] = (
            dims[:2], surface.at(n).reshape(shape[:2]), SCHEMA["error_linearised"].attributes,
        )  # fmt: skip
        wider["error_covariance"] = (
            ("setting", "beside"), covariance[at_n, at_n], SCHEMA["error_covariance"].attributes,
        )  # fmt: skip
    return wider


def _with_votes(
    data: xr.Dataset,
    task: Task,
    epoch: int,
    order: Tensor,
    found: list[Pilot],
    surface: Surface,
) -> xr.Dataset:
    """Let pilots say what pool samples are that theory has not looked at: of those that have not
    seen a sample, nor a copy of it, the one whose setting is nearest.
    """
    votes = data.decision_loo.values.copy()
    one = votes if "epoch" not in data.dims else votes[epoch]
    flat = one.reshape(len(surface.shares), -1)
    untold = flat < 0
    at = np.stack([surface.soft_ratio, np.log2(surface.temperature)], 1) / WIDE
    distances = np.square(at[:, None] - at[[p.setting for p in found]]).sum(-1)
    voted = []
    for pilot in found:
        others = order[pilot.others].numpy()
        seen = np.setdiff1d(order.numpy(), others)
        fresh = ~np.isin(task.copy_of[others], task.copy_of[seen])
        voted.append((others[fresh], pilot.voted.numpy()[fresh]))
    for s in range(len(flat)):
        for k in np.argsort(distances[s], kind="stable")[::-1]:  # the nearest speaks last
            told, votes_of = voted[k]
            flat[s, told] = np.where(untold[s, told], votes_of, flat[s, told])
    return data.assign(decision_loo=data.decision_loo.copy(data=votes))


def _described(data: xr.Dataset, surface: Surface, runs: Runs, found: list[Pilot]) -> xr.Dataset:
    """With the pilots, what they cost, and what theory alone would have said."""
    known = runs.known(surface, found)
    columns = {
        "pilot_soft_ratio": [surface.soft_ratio[p.setting] for p in found],
        "pilot_temperature": [surface.temperature[p.setting] for p in found],
        "pilot_n": [p.kind.n for p in found],
        "pilot_epochs": [p.kind.epochs for p in found],
        "pilot_error": known.error,
        "pilot_predicted": known.predicted,
    }
    for name, values in columns.items():
        data[name] = ("pilot", np.asarray(values), SCHEMA[name].attributes)
    mean = data.error.isel(n=-1).mean("ordering")
    mean = mean.isel(epoch=runs.epoch) if "epoch" in data.dims else mean
    drawn = regrets(mean.values.ravel(), data.error_covariance.values)
    said = _words(surface, runs, found, mean.values.ravel())
    notes = [*json.loads(data.attrs["notes"]), said]
    return data.assign_attrs(
        budget=runs.budget.trainings,
        taught_by=runs.epoch,
        trainings=runs.spent,
        expected_regret=100 * float(drawn.mean()),
        regret_high=100 * float(max(drawn.mean(), np.quantile(drawn, 0.9))),
        notes=json.dumps(notes),
        warnings=json.dumps(json.loads(data.attrs["warnings"]) + runs.lost),
    )


def _words(surface: Surface, runs: Runs, found: list[Pilot], mean: np.ndarray) -> str:
    n = len(runs.taught)
    alone = surface.at(n)
    first, now = int(alone.argmin()), int(mean.argmin())

    def named(s: int, errors: np.ndarray) -> str:
        setting = f"ρ = {surface.soft_ratio[s]:g}, T = {surface.temperature[s]:g}"
        return f"{setting} with an error of {100 * errors[s]:.1f} %"

    if found:
        of, long = (_range(getattr(p.kind, key) for p in found) for key in ("n", "epochs"))
        count = f"{len(found)} pilot{'' if len(found) == 1 else 's'}"
        after = f"after {count} of {of} samples and {long} epochs: {named(now, mean)}"
    elif runs.lost:
        after = "no pilot came to an end"
    elif any(runs.affords(kind) for kind in runs.kinds):
        after = "no pilot was worth its cost"
    else:
        after = f"the budget of {runs.budget.trainings:g} trainings had no room for pilots"
    return (
        f"Theory alone, on {surface.used:,} of {n:,} samples: {named(first, alone)}; {after}."
        " Errors and disagreements with the teacher are those expected of students of the whole"
        f" pool after the pilots; all else is of linearised students of {surface.used:,} samples."
    )


def _range(values: Iterable[int]) -> str:
    known = sorted(set(values))
    return " to ".join(f"{value:,}" for value in dict.fromkeys([known[0], known[-1]]))
