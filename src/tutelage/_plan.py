"""From curves to a plan: what to do, why, and how sure that is."""

import io
import json
import math
import time
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd
import xarray as xr
from rich.console import Console

from tutelage._curves import curves as compute
from tutelage._curves import load_curves, save_curves
from tutelage._predict import predicted
from tutelage._request import DTYPES
from tutelage._stream import HELD_OUT
from tutelage.data.checks import NOT_LABELLED
from tutelage.data.inputs import Shape
from tutelage.data.part import decide
from tutelage.data.source import Source, StreamTask, open_pool
from tutelage.data.task import Task, Taught
from tutelage.decisions.evidence import Evidence
from tutelage.decisions.labels import (
    Labelling,
    label_next,
    labelling,
    margin_of,
    with_fewer,
)
from tutelage.decisions.peers import peers
from tutelage.decisions.samples import Samples, samples
from tutelage.decisions.settings import Choice, choose
from tutelage.decisions.teacher import (
    Teacher,
    choose_epoch,
    describe_epoch,
    disagreements,
    labelled_count,
    share_of_wrong,
)
from tutelage.decisions.warnings import OUTVOTED, Facts, notes_of, warnings_of
from tutelage.exceptions import SettingError, TaskError
from tutelage.made_for import MadeFor
from tutelage.outputs import as_json, written
from tutelage.pilots import Budget, cannot, within
from tutelage.pilots.surface import wrong_labels
from tutelage.report import render, summary
from tutelage.students import EPOCHS, Student, TorchStudent, as_student, from_dict
from tutelage.students.network import ATTEMPTS
from tutelage.train import DistillationLoss, Training

_WIDTH = 100  # of a summary


@dataclass(frozen=True)
class Setting:
    """What one (soft ratio, temperature) is predicted to do with all N samples; None where it
    cannot be known.
    """

    soft_ratio: float
    temperature: float
    error: float | None
    error_se: float | None
    balanced_error: float | None
    transfer_risk: float | None
    expected_transfer_risk: float
    risk_bound: float | None
    power_bound: float | None
    certified_fraction: float | None
    data_inefficiency: float | None
    data_inefficiency_se: float | None
    error_prequential: float | None
    error_loo: float | None
    distance: float
    error_linearised: float | None = None


@dataclass(frozen=True)
class Spent:
    """What a plan cost.

    Attributes
    ----------
    predicted_seconds, seconds : float
        What was announced, where there was a budget, and what it took.
    trainings : float, optional
        As much arithmetic as so many trainings of the student on the whole pool; where there was a
        budget.
    features : int or str
        D, or `exact`.
    expected_regret, regret_high : float, optional
        Points that the recommended setting is expected to err more than the best of the grid, and
        what it errs more at most in nine cases of ten.
    pilots : list of Pilot
    """

    predicted_seconds: float | None
    seconds: float
    trainings: float | None
    features: int | str
    expected_regret: float | None
    pilots: list["Pilot"]
    regret_high: float | None = None


@dataclass(frozen=True)
class Pilot:
    """A real student of n samples: the error that theory predicts of it, and its own; and how many
    epochs it was trained for.
    """

    soft_ratio: float
    temperature: float
    n: int
    predicted: float
    real: float
    epochs: int | None = None


@dataclass(frozen=True)
class Gain:
    """How much less the recommended setting errs than one that (nearly) trains on the labels
    alone.
    """

    soft_ratio: float
    temperature: float
    error_reduction: float
    se: float


@dataclass(frozen=True, kw_only=True)
class Recommended(Setting):
    """The setting to use, and why; `equally_good` are the (ρ, T) within one standard error of the
    least error.
    """

    verdict: str
    equally_good: list[tuple[float, float]]
    why: str
    gain_over_labels: Gain | None


@dataclass(frozen=True, repr=False)
class Plan:
    """The decisions of one task, in the fields of plan.json.

    Examples
    --------
    >>> import numpy as np, tempfile, tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(60, 3))
    >>> y = (x[:, 0] > 0).astype(int)
    >>> task = tu.Task(x_train=x, teacher_logits_train=3 * x[:, 0], y_train=y)
    >>> made = tu.plan(task, student="mlp:depth=1", soft_ratio=[1.0], temperature=[2.0])
    >>> made.recommended.soft_ratio, made.recommended.temperature
    (1.0, 2.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made.save(folder)
    ...     Plan.load(folder, task=task) == made
    True
    """

    tutelage: str
    task: dict[str, Any]
    student: str
    t_power: int
    dtype: str
    jitter: float
    jitter_relative: float
    seed: int
    seconds: float
    error_from: str
    settings: list[Setting]
    recommended: Recommended
    samples: Samples
    teacher: Teacher
    peers: dict[str, Any]
    made_for: MadeFor
    cost: Spent
    notes: list[str]
    warnings: list[str]
    _task: Taught = field(repr=False, compare=False)
    _curves: xr.Dataset = field(repr=False, compare=False)
    _student: Student | None = field(default=None, repr=False, compare=False)

    @property
    def curves(self) -> xr.Dataset:
        """The curves that the plan was made from."""
        return self._curves

    def __repr__(self) -> str:
        best = self.recommended
        error = "not known" if best.error is None else f"{100 * best.error:.1f} %"
        return (
            f"Plan(soft_ratio={best.soft_ratio:g}, temperature={best.temperature:g}, error={error},"
            f" verdict={best.verdict!r},\n     student={self.student!r},"
            f" n_train={self.task['n_train']}, {len(self.settings)} settings)"
        )

    def loss(self) -> DistillationLoss:
        """Give the recommended loss, to train with.

        Returns
        -------
        DistillationLoss
            ``loss(student_logits, teacher_logits, labels)``, a mean over the batch.

        Examples
        --------
        >>> import numpy as np, tutelage as tu
        >>> x = np.random.default_rng(0).normal(size=(60, 3))
        >>> y = (x[:, 0] > 0).astype(int)
        >>> task = tu.Task(x_train=x, teacher_logits_train=3 * x[:, 0], y_train=y)
        >>> tu.plan(task, soft_ratio=[1.0], temperature=[2.0]).loss()
        DistillationLoss(soft_ratio=1, temperature=2, t_power=2)
        """
        best = self.recommended
        return DistillationLoss(best.soft_ratio, best.temperature, self.t_power)

    def summary(self) -> str:
        """Give the decision, the best settings, notes and warnings as the command prints them."""
        console = Console(width=_WIDTH, highlight=False, file=io.StringIO(), color_system=None)
        with console.capture() as captured:
            console.print(summary(self.as_dict()))
        return captured.get()

    @classmethod
    def load(cls, folder: str | Path, *, task: Task | Source | None = None) -> "Plan":
        """Read a plan back from the folder that it was saved in.

        Parameters
        ----------
        folder : str or Path
            With plan.json and curves.nc.
        task : Task or Source, optional
            By default read from where the plan says that it lay.

        Raises
        ------
        TaskError
            If the folder holds no plan, or the task is not where it was.
        SettingError
            If the task is not the plan's.
        """
        document, curves = read_document(Path(folder)), load_curves(Path(folder) / "curves.nc")
        found = _at(document, folder) if task is None else task
        known = StreamTask(found, HELD_OUT) if isinstance(found, Source) else found
        _check_task(known, curves)
        kinds = {name: kind for name, kind in get_type_hints(cls).items() if name in document}
        try:
            values = {name: _read(kind, document[name]) for name, kind in kinds.items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TaskError(
                f"{Path(folder) / 'plan.json'} is no plan of this version of tutelage ({error})."
                " Make the plan again."
            ) from error
        return cls(**values, _task=known, _curves=curves)

    def predict(self, x: np.ndarray | dict[str, np.ndarray]) -> np.ndarray:
        """Give logits of the recommended student, linearised, on inputs of your own.

        Parameters
        ----------
        x : array of shape (m, ...), or dict of such arrays
            As the task's inputs are: they are prepared as those were.

        Returns
        -------
        array of shape (m, C)
            Centred over classes; C = 1 for one logit. Of a network the mean over its starts.

        Raises
        ------
        SettingError
            If the plan was made in features.
        TaskError
            If the inputs are not like the task's.
        StudentError
            If the plan was read from a file that does not say how its student is made.
        """
        if not isinstance(self._task, Task) or self.made_for.features is not None:
            raise SettingError(
                "The plan was made in features, which keep no sample to predict from; predict with"
                " the exact plan of a task, such as of the pool's first samples."
            )
        made_for, best = self.made_for, self.recommended
        return predicted(
            self._task,
            self._student or student_of(made_for),
            (best.soft_ratio, best.temperature, self.t_power),
            x,
            epoch=self._epoch,
            orderings=made_for.orderings,
            seed=made_for.seed,
            timed=self.error_from == "test part",
            standardise=made_for.standardise,
            dtype=DTYPES[self.dtype],
            device=made_for.device,
        ).numpy()

    def teach_next(self, x: np.ndarray | dict[str, np.ndarray], most: int = 1000) -> list[int]:
        """Give those of other inputs that the teacher should be asked about next: those of which
        the recommended student is least sure.

        Parameters
        ----------
        x : array of shape (m, ...), or dict of such arrays
            Inputs that the teacher has not seen; as those of the task.
        most : int
            How many to give.

        Returns
        -------
        list of int
            Positions in x, the least sure first.

        Raises
        ------
        SettingError, TaskError, StudentError
            As `predict`.

        Examples
        --------
        >>> import numpy as np, tutelage as tu
        >>> x = np.random.default_rng(0).normal(size=(60, 1))
        >>> y = (x[:, 0] > 0).astype(int)
        >>> task = tu.Task(x_train=x, teacher_logits_train=9 * x[:, 0], y_train=y)
        >>> made = tu.plan(task, soft_ratio=[1.0], temperature=[1.0])
        >>> made.teach_next(np.array([[2.0], [0.1], [-1.0]]), most=2)
        [1, 2]
        """
        if most < 1:
            raise SettingError(f"{most} inputs were asked for; expected 1 or more.")
        return [int(i) for i in np.argsort(margin_of(self.predict(x)), kind="stable")[:most]]

    def save(self, folder: str | Path) -> None:
        """Write plan.json, curves.nc and report.html; label_next.csv, where there are samples
        without a label, and suspect_labels.csv, where teacher and label differ. What an earlier
        plan has left there is removed, and what real students said of it.

        Raises
        ------
        OutputError
            If they cannot be written; nothing half-written is left.
        """
        save_curves(self._curves, Path(folder) / "curves.nc")
        for name in ("verification.json", "students.nc", "label_next.csv", "suspect_labels.csv"):
            (Path(folder) / name).unlink(missing_ok=True)
        self.to_html(Path(folder) / "report.html")
        if self.teacher.label_next:
            self._write_samples(Path(folder) / "label_next.csv", self.teacher.label_next)
        if self.teacher.suspect_labels:
            self._write_samples(Path(folder) / "suspect_labels.csv", self.teacher.suspect_labels)
        self.to_json(Path(folder) / "plan.json")

    def _write_samples(self, path: Path, chosen: list[int]) -> None:
        """Samples, with what the teacher takes them for, how sure it is, and what they are labelled
        as.
        """
        logits = self._task.teacher_logits("train")[self._epoch][chosen].astype(np.float64)
        columns: dict[str, Any] = {
            "sample": chosen,
            "teacher": self._named(decide(logits)),
            "margin": margin_of(logits).round(6),
        }
        labels = self._task.y_train
        if labels is not None and (labels[chosen] != NOT_LABELLED).all():
            columns["label"] = self._named(labels[chosen])
            columns["students"] = self._sides(chosen)
        if self._task.text(0) is not None:
            columns["text"] = [_no_formula(self._task.text(i) or "") for i in chosen]
        with written(path) as partial:
            pd.DataFrame(columns).to_csv(partial, index=False)

    def _sides(self, chosen: list[int]) -> list[str]:
        """Whose side students take that have not seen the samples."""
        of = dict.fromkeys(self.teacher.teacher_corrects_label, "teacher")
        of |= dict.fromkeys(self.teacher.label_corrects_teacher, "label")
        return [of.get(i, "undecided") for i in chosen]

    def _named(self, classes: np.ndarray) -> list[str]:
        """Classes by their names, as a spreadsheet takes them."""
        names = self._task.class_names
        return [_no_formula(str(k) if names is None else names[k]) for k in classes]

    @property
    def _epoch(self) -> int:
        """Where the recommended epoch stands among the teacher's."""
        epochs = self._task.teacher_epochs
        return 0 if epochs is None else int(epochs.tolist().index(self.teacher.recommended_epoch))

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain data, NaN as None."""
        public = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if not name.startswith("_")
        }
        plain = {
            k: [asdict(s) for s in v] if k == "settings" else _plain(v) for k, v in public.items()
        }
        return dict(_without_nan(plain))

    def to_json(self, path: str | Path | None = None) -> str:
        """Give the plan as JSON, and write it to `path` if there is one.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        return as_json(self.as_dict(), path)

    def to_html(self, path: str | Path, verification: dict[str, Any] | None = None) -> None:
        """Write the report: one HTML file that needs nothing else.

        Parameters
        ----------
        path : str or Path
        verification : dict, optional
            What real students did, from `tutelage.lab.verify`, to be shown beside what was
            predicted.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        page = render(self.as_dict(), self._curves, self._task, verification)
        with written(Path(path)) as partial:
            partial.write_text(page, encoding="utf-8")


def plan(
    task: Task | Source | StreamTask,
    *,
    student: Any = None,
    curves: xr.Dataset | None = None,
    target_error: float | None = None,
    learning_rate: float | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    optimiser: str = "sgd",
    budget: float | None = None,
    regret: float | None = None,
    **options: Any,
) -> Plan:
    """Decide: setting, sample size, teacher epoch, samples to look at.

    Parameters
    ----------
    task : Task or Source
        A source, see `open_source`, is planned for in features.
    student : str, Kernel, Student, torch.nn.Module or callable, optional
        Of whom the plan is: a SPEC, a kernel or a network, see `tutelage.students.as_student`. By
        default an infinitely wide MLP.
    curves : xarray.Dataset, optional
        From `tutelage.curves` of the same task, or loaded with `tutelage.load_curves`; then nothing
        is computed anew, and there is no need for a student.
    target_error : float, optional
        In (0, 1): say how many samples reach it.
    learning_rate : float, optional
        That a network will be trained at; by default one that is found by a range test.
    epochs : float, optional
        That a network will be trained for; by default 60, infinite: until it has converged.
    batch_size : int, optional
        By default 64.
    optimiser : {"sgd", "adamw"}
        That a network will be trained with.
    budget : float, optional
        What a plan of a network may cost, in trainings of the network on the whole pool. Theory
        looks at a part of the pool. What is left goes to pilots: real students, briefly trained,
        that correct theory (docs/theory.md §3.3). 0 is theory alone, on the whole pool. By default
        1 where that can be had, and otherwise 0: see docs/students.md.
    regret : float, optional
        In points of error: no more pilots once the setting is expected to err by less than this
        more than the best of the grid. By default 0.1.
    **options
        `soft_ratio` and `temperature`, sequences of the values to try, `seed`, `progress` and all
        else that `tutelage.curves` takes.

    Returns
    -------
    Plan

    Raises
    ------
    SettingError
        If the target is out of range, or the curves are of another task.

    Examples
    --------
    >>> import numpy as np
    >>> import tutelage as tu
    >>> x = np.random.default_rng(0).normal(size=(80, 4))
    >>> y = (x[:, 0] + x[:, 1] > 0).astype(int)
    >>> task = tu.Task(x_train=x, teacher_logits_train=3 * x[:, 0], y_train=y)
    >>> made = tu.plan(task, student="mlp:depth=1", soft_ratio=[0.1, 1.0], temperature=[1.0])
    >>> made.recommended.soft_ratio
    0.1
    >>> tu.plan(task, curves=made.curves).recommended == made.recommended
    True
    """
    if isinstance(task, Source):
        task = StreamTask(task, HELD_OUT)
    if curves is None:
        _check_target(target_error)
        training = Training(
            learning_rate=learning_rate, batch_size=batch_size or 64, optimiser=optimiser
        )
        long = EPOCHS if epochs is None else epochs
        given = "mlp" if student is None else student
        known = as_student(given, training=training, epochs=long)
        spend = _budget(task, known, budget, regret, options)
        if spend is None:
            data = _with_labelling(task, known, compute(task, known, **options), options)
        else:
            assert isinstance(task, Task)
            assert isinstance(known, TorchStudent)
            data = within(task, known, spend, **options)
        found = plan(task, curves=data, target_error=target_error)
        return replace(found, _student=_as_computed(known, found.made_for))
    if student is not None or options:
        given = ", ".join([*(["student"] if student is not None else []), *options])
        raise SettingError(
            f"Curves were given, and {given}, which curves are computed for; give either."
        )
    return _decided(task, curves, target_error)


def _with_labelling(
    task: Task | StreamTask, student: Student, data: xr.Dataset, options: dict[str, Any]
) -> xr.Dataset:
    """With what labels of all samples would bring, where a part has them."""
    fewer = with_fewer(task, int(data.attrs["seed"]))
    if fewer is None or data.attrs["error_from"] != "test part" or "held_out" in data:
        return data
    assert isinstance(task, Task)
    briefly = {"orderings": 1, "sizes": [int(data.n[-1])]}
    found = compute(fewer, student, **(options | briefly))
    first = [d.isel(epoch=-1) if "epoch" in d.dims else d for d in (data, found)]
    return data.assign_attrs(labelling=json.dumps(asdict(labelling(task, *first))))


def _budget(
    task: Task | StreamTask,
    student: Student,
    trainings: float | None,
    regret: float | None,
    options: dict[str, Any],
) -> Budget | None:
    """What there is to spend; None: theory alone, on the whole pool."""
    for name, value in {"budget": trainings, "regret": regret}.items():
        if value is not None and not (isinstance(value, int | float) and 0 <= value < math.inf):
            raise SettingError(f"{name} is {value!r}; expected a number of 0 or more.")
    if trainings == 0:
        if regret is not None:
            raise SettingError("A regret to stop at was given, and a budget of 0 trains no pilots.")
        return None
    why_not = cannot(task, student, options)
    if why_not is None:
        plain = Budget()
        return Budget(trainings or plain.trainings, plain.regret if regret is None else regret)
    if trainings is not None or regret is not None:
        raise SettingError(f"A budget for pilots was given, and {why_not}; leave the budget out.")
    return None


def _decided(task: Taught, curves: xr.Dataset, target_error: float | None) -> Plan:
    """Every decision that the curves allow."""
    started = time.perf_counter()
    _check(task, curves, target_error)
    epochs = (
        [curves.isel(epoch=e) for e in range(curves.sizes["epoch"])]
        if "epoch" in curves.dims
        else [curves]
    )
    evidences = [_of_networks(task, data, e) for e, data in enumerate(epochs)]
    choices = [
        choose(evidence, labels_may_suffice=_labels_may_suffice(task, epochs[e], e))
        for e, evidence in enumerate(evidences)
    ]
    best = int(curves.attrs.get("taught_by", choose_epoch(evidences, choices)))
    data, evidence, choice = epochs[best], evidences[best], choices[best]
    rho, t = float(evidence.soft_ratio[choice.chosen]), float(evidence.temperature[choice.chosen])
    attrs, t_power = curves.attrs, int(curves.attrs["t_power"])
    settings = [_setting(data, evidence, s) for s in range(len(evidence.soft_ratio))]
    named = task.teacher_epochs is not None
    ranked = (
        [describe_epoch(task, d, e, evidences[e], choices[e]) for e, d in enumerate(epochs)]
        if named
        else None
    )
    teacher = Teacher(
        epochs=None if ranked is None else sorted(ranked, key=lambda e: (e.error is None, e.error)),
        recommended_epoch=None if ranked is None else ranked[best].epoch,
        **disagreements(task, data, best, t, t_power),  # type: ignore[arg-type]
        label_next=label_next(task, best),
    )
    facts = Facts(task, best, teacher, evidence, choice.chosen, attrs)
    return Plan(
        tutelage=attrs["tutelage"],
        task=_describe(task, best, evidence),
        student=attrs["student"],
        t_power=t_power,
        dtype=attrs["dtype"],
        jitter=float(curves.jitter.max()),
        jitter_relative=float(curves.jitter_relative.max()),
        seed=int(attrs["seed"]),
        seconds=float(attrs["seconds"]) + time.perf_counter() - started,
        error_from=attrs["error_from"],
        settings=_ranked(settings, choice),
        recommended=_recommended(settings, evidence, choice),
        samples=replace(
            samples(data.sel(soft_ratio=rho, temperature=t), target_error, int(attrs["seed"])),
            labelled=Labelling(**json.loads(attrs["labelling"])) if "labelling" in attrs else None,
        ),
        teacher=teacher,
        peers=peers(rho, t, t_power),
        made_for=replace(MadeFor.from_json(attrs["made_for"]), target_error=target_error),
        cost=_spent(curves, time.perf_counter() - started),
        notes=json.loads(attrs["notes"]) + notes_of(facts),
        warnings=json.loads(attrs["warnings"]) + warnings_of(facts),
        _task=task,
        _curves=curves,
    )


def _of_networks(task: Taught, data: xr.Dataset, epoch: int) -> Evidence:
    """Let the choice count what wrong labels do to networks, (3.12), where theory speaks alone."""
    evidence = Evidence.of(task, data, epoch)
    alone = evidence.expected is None and "held_out" not in data
    if not alone or data.attrs["error_from"] != "test part" or not evidence.against_labels:
        return evidence
    found = share_of_wrong(task, epoch)
    if found is None or found.low <= OUTVOTED:
        return evidence
    return replace(evidence, wrong=wrong_labels(task, epoch))


def _labels_may_suffice(task: Taught, data: xr.Dataset, epoch: int) -> bool:
    """Whether all samples have a label, and few labels are wrong, by (6.2); where that cannot be
    told, by how many are outvoted (`data` has no epoch axis left).
    """
    if task.y_train is not None and labelled_count(task) < task.n_train:
        return False
    if "held_out" in data:
        return True
    found = share_of_wrong(task, epoch)
    if found is not None:
        return found.low <= OUTVOTED
    split = disagreements(task, data, epoch, float(data.temperature[0]), int(data.attrs["t_power"]))
    outvoted = split["teacher_corrects_label"]
    assert isinstance(outvoted, list)
    return len(outvoted) <= OUTVOTED * task.n_train


def _check(task: Taught, curves: xr.Dataset, target_error: float | None) -> None:
    if (
        not isinstance(task, Taught)
        or not isinstance(curves, xr.Dataset)
        or "task" not in curves.attrs
    ):
        raise SettingError(
            f"A plan was asked for of {type(task).__name__} and {type(curves).__name__}; expected a"
            " Task and the curves of it."
        )
    _check_target(target_error)
    _check_task(task, curves)


def _check_target(target_error: float | None) -> None:
    if target_error is not None and not isinstance(target_error, int | float):
        raise SettingError(f"A target error of {target_error!r} was given; expected a number.")
    if target_error is not None and not 0 < target_error < 1:
        raise SettingError(
            f"A target error of {target_error:g} was given; expected a share between 0 and 1, such"
            " as 0.05."
        )


def _check_task(task: Taught, curves: xr.Dataset) -> None:
    if curves.attrs["task"] != task.fingerprint:
        raise SettingError(
            "The curves are of another task, or the task has changed since; give the task that they"
            " were computed for (of a plan in a folder: --task)."
        )


def _setting(data: xr.Dataset, evidence: Evidence, s: int) -> Setting:
    where = {"soft_ratio": evidence.soft_ratio[s], "temperature": evidence.temperature[s]}
    here = data.sel(where).isel(n=-1)

    def value(name: str) -> float | None:
        return _known(float(here[name].mean())) if name in here else None

    return Setting(
        soft_ratio=float(where["soft_ratio"]),
        temperature=float(where["temperature"]),
        error=float(evidence.error[s]) if evidence.against_labels else None,
        error_se=float(evidence.error_se[s]) if evidence.against_labels else None,
        balanced_error=float(evidence.balanced_error[s]) if evidence.against_labels else None,
        transfer_risk=value("transfer_risk"),
        expected_transfer_risk=float(here.expected_transfer_risk.mean()),
        risk_bound=value("risk_bound"),
        power_bound=value("power_bound"),
        certified_fraction=value("certified_fraction"),
        data_inefficiency=_known(float(evidence.inefficiency[s])),
        data_inefficiency_se=_known(float(evidence.inefficiency_se[s])),
        error_prequential=value("error_prequential"),
        error_loo=value("error_loo"),
        distance=float(here.distance.mean()),
        error_linearised=value("error_linearised"),
    )


def _spent(curves: xr.Dataset, since: float) -> Spent:
    attrs, pilots = curves.attrs, []
    if "pilot_n" in curves:
        names = ["soft_ratio", "temperature", "n", "predicted", "error"]
        names += ["epochs"] if "pilot_epochs" in curves else []  # not in those of before
        columns = [curves[f"pilot_{name}"].values.tolist() for name in names]
        pilots = [Pilot(*row) for row in zip(*columns, strict=True)]

    def known(name: str) -> float | None:
        return float(attrs[name]) if name in attrs else None

    return Spent(
        known("predicted_seconds"),
        float(attrs["seconds"]) + since,
        known("trainings"),
        int(attrs["features"]) if "features" in attrs else "exact",
        known("expected_regret"),
        pilots,
        known("regret_high"),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ranked(settings: list[Setting], choice: Choice) -> list[Setting]:
    """Best first: least error; among equals the recommended one, then hot and soft before cold and
    hard.
    """

    def key(s: int) -> tuple[float, bool, float, float]:
        error = settings[s].error
        return (
            0.0 if error is None else error,
            s != choice.chosen,
            -settings[s].temperature,
            -settings[s].soft_ratio,
        )

    return [settings[s] for s in sorted(range(len(settings)), key=key)]


def _recommended(settings: list[Setting], evidence: Evidence, choice: Choice) -> Recommended:
    hardest = min(
        range(len(settings)), key=lambda s: (settings[s].soft_ratio, settings[s].temperature)
    )
    gain = None
    if evidence.against_labels and settings[hardest].soft_ratio < 1:
        more, error = evidence.excess(hardest, choice.chosen)
        gain = Gain(settings[hardest].soft_ratio, settings[hardest].temperature, more, error)
    return Recommended(
        **asdict(settings[choice.chosen]),
        verdict=choice.verdict,
        equally_good=[
            (settings[s].soft_ratio, settings[s].temperature) for s in choice.equally_good
        ],
        why=choice.why,
        gain_over_labels=gain,
    )


def _describe(task: Taught, epoch: int, evidence: Evidence) -> dict[str, Any]:
    train, test = task.teacher_accuracy("train"), task.teacher_accuracy("test")
    return {
        "n_train": task.n_train,
        "n_test": task.n_test,
        "n_classes": task.n_classes,
        "n_logits": task.n_logits,
        "input_shape": _plain_shape(task.input_shape),
        "labels": task.y_train is not None,
        "n_labelled": labelled_count(task),
        "source": task.source,
        "streamed": isinstance(task, StreamTask),
        "columns": task.columns,
        "classes": task.classes,
        "majority_error": evidence.majority_error if evidence.against_labels else None,
        "teacher_accuracy_train": None if train is None else float(train[epoch]),
        "teacher_accuracy_test": None if test is None else float(test[epoch]),
    }


def _no_formula(text: str) -> str:
    """A text that a spreadsheet does not take for a formula, which could run what it names."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _at(document: dict[str, Any], folder: str | Path) -> Task | Source:
    """What a plan was made from, where it still lies there."""
    source = document["task"]["source"]
    if source is None or not Path(source).exists():
        raise TaskError(
            f"The task of the plan in {folder} is not at {source}; give it (--task, or"
            " Plan.load(folder, task=…))."
        )
    whole = not document["task"].get("streamed", False)
    return open_pool(source, whole=whole, **read_with(document))


def read_with(document: dict[str, Any]) -> dict[str, Any]:
    """Give the columns and classes that a plan's tables were read with."""
    return {name: document["task"].get(name) for name in ("columns", "classes")}


def read_document(folder: Path) -> dict[str, Any]:
    """Read a plan.json that this version of the package can make a plan of.

    Raises
    ------
    TaskError
        If the folder holds none.
    """
    path = folder / "plan.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TaskError(
            f"{folder} holds no plan.json; give the folder that tutelage plan wrote (--out)."
        ) from error
    except ValueError as error:
        raise TaskError(f"{path} is not JSON ({error}); make the plan again.") from error
    lacking = {f.name for f in fields(Plan) if not f.name.startswith("_")} - set(
        found if isinstance(found, dict) else ()
    )
    if lacking:
        raise TaskError(
            f"{path} is no plan of this version of tutelage: it lacks {min(lacking)}. Make the plan"
            " again."
        )
    return dict(found)


def _read(kind: Any, value: Any) -> Any:
    """Read plain data back as what a field holds: a dataclass, a list or tuple, or itself."""
    if get_origin(kind) is UnionType:
        return None if value is None else _read(get_args(kind)[0], value)
    if get_origin(kind) in (list, tuple):
        inner, made = get_args(kind)[0], get_origin(kind)
        return made(_read(inner, v) for v in value)
    if isinstance(kind, type) and is_dataclass(kind):
        kinds = get_type_hints(kind)
        return kind(**{name: _read(kinds[name], v) for name, v in value.items()})
    return float("nan") if kind is float and value is None else value


def student_of(made_for: MadeFor) -> Student:
    """The student that a plan is about, as its curves were computed.

    Raises
    ------
    StudentError
        If the plan does not say how it is made.
    """
    training = Training(
        made_for.warm_epochs or Training().epochs,
        made_for.learning_rate,
        made_for.batch_size or Training().batch_size,
        attempts=1 if made_for.learning_rate_given else ATTEMPTS,
        device=made_for.device,
        optimiser=made_for.optimiser or "sgd",
        weight_decay=made_for.weight_decay,
        warmup=made_for.warmup,
    )
    epochs = math.inf if made_for.epochs is None else made_for.epochs
    return as_student(from_dict(made_for.student, training=training, epochs=epochs))


def _as_computed(known: Student, made_for: MadeFor) -> Student:
    """A network with the learning rate that all of its starts had."""
    if not isinstance(known, TorchStudent):
        return known
    training = replace(known.training, learning_rate=made_for.learning_rate)
    if not made_for.learning_rate_given:
        training = replace(training, attempts=ATTEMPTS)
    return replace(known, training=training)


def _plain_shape(shape: Shape) -> list[int] | dict[str, list[int]]:
    if isinstance(shape, dict):
        return {name: list(of) for name, of in shape.items()}
    return list(shape)


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
