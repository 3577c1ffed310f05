"""The HTML page: the decision in plain words, then the charts and samples behind it."""

import json
from textwrap import shorten
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tutelage.data.checks import NOT_LABELLED
from tutelage.data.task import Taught
from tutelage.decisions.costs import Offer
from tutelage.decisions.peers import peers
from tutelage.decisions.teacher import error_flip_ratios
from tutelage.decisions.warnings import HARMED
from tutelage.report import charts, frames
from tutelage.report.compare import MINOR, Checked, compared, least, not_alike, shared_student
from tutelage.report.costs import TITLES as COST_TITLES
from tutelage.report.costs import rows_of, where_to_spend
from tutelage.report.explain import means, sure
from tutelage.report.pictures import thumbnail
from tutelage.report.vega import bundle
from tutelage.report.verified import better, conclusion
from tutelage.report.words import (
    infinite,
    partly_labelled,
    percent,
    points,
    surely_wrong,
    undecided,
)
from tutelage.version import __version__

_LONGEST = 200  # characters of a text
_SHOWN, _DOWNLOADED = 24, 2000  # samples per list; all of them are in plan.json
LISTS = {
    "label_corrects_teacher": (
        "The teacher seems wrong",
        "Students that have not seen the sample side with its label.",
    ),
    "teacher_corrects_label": (
        "Labels to check: the teacher seems right",
        (
            "Students that have not seen the sample side with the teacher. The most suspicious"
            " label comes first. Look before you change a label: they may be wrong together."
        ),
    ),
    "undecided": (
        "Undecided",
        "Students at low and at high soft ratio vote differently, or for a third class.",
    ),
    "label_next": (
        "To be labelled next",
        (
            "Samples without a label of which the teacher is least sure, the least sure first;"
            " all are in label_next.csv."
        ),
    ),
}

Document = dict[str, Any]


def render(
    document: Document, curves: xr.Dataset, task: Taught, verification: Document | None = None
) -> str:
    """Give the report as one HTML page that needs nothing but itself.

    Parameters
    ----------
    document : dict
        plan.json, read or about to be written.
    curves : xarray.Dataset
    task : Task
    verification : dict, optional
        Predicted and real errors of settings that were really trained.

    Returns
    -------
    str
    """
    specs = {
        name: chart.to_dict()
        for name, chart in _charts(document, curves, task, verification).items()
    }
    return (
        _environment()
        .get_template("page.html")
        .render(
            plan=document,
            verified=verification,
            charts=specs,
            specs=_script_json(specs),
            sizes=document["samples"]["sizes"],
            table=_script_json(_at_sizes(document["samples"])),
            lists=_lists(document, task),
            listed=_script_json(_listed(document, task)),
            sure=sure(document, verification),
            means=means(document, better(verification)),
            undecided=undecided(document),
            surely_wrong=surely_wrong(document["teacher"]),
            counts_harm=any(HARMED in note for note in document["notes"]),
            tools=_tools(document, better(verification)),
            infinite=infinite(document),
            checked=None if verification is None else conclusion(verification),
            better=better(verification),
            partly=partly_labelled(document),
            shown=_SHOWN,
            script=_script(bundle()),
        )
    )


def _tools(document: Document, setting: tuple[float, float] | None) -> Document:
    """Give the arguments of other tools: of the recommended setting, or of what real students say
    is better.
    """
    return document["peers"] if setting is None else peers(*setting, document["t_power"])


def render_comparison(
    plans: dict[str, Document],
    offers: dict[str, Offer] | None = None,
    checked: Checked | None = None,
) -> str:
    """Give several plans side by side as one HTML page that needs nothing but itself.

    Parameters
    ----------
    plans : dict
        plan.json by the name of each plan; with labels.
    offers : dict, optional
        By the name of each plan, where its teacher's labels have a price.
    checked : dict, optional
        verification.json by the name of each plan, where there is one.
    """
    rows, titles = compared(plans)
    spent = rows_of(offers) if offers else []
    frame = frames.plans_frame(plans, [row.name for row in rows])
    specs = {"errors": charts.errors_of_plans(frame).to_dict()}
    if frame["parameters"].nunique() > 1:
        specs["sizes"] = charts.errors_by_size(frame).to_dict()
    if offers:
        specs["costs"] = charts.error_by_cost(frames.costs_frame(offers)).to_dict()
    return (
        _environment()
        .get_template("compare.html")
        .render(
            rows=rows,
            titles=titles,
            minor=MINOR,
            said=least(plans),
            warnings=not_alike(plans, checked),
            sized="sizes" in specs,
            student=shared_student(plans),
            spent=spent,
            spent_titles=COST_TITLES,
            where_to_spend=where_to_spend(spent) if spent else None,
            specs=_script_json(specs),
            script=_script(bundle()),
            version=__version__,
        )
    )


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("tutelage.report"), autoescape=True, undefined=StrictUndefined
    )
    made.filters |= {
        "percent": lambda *given: percent(*given).replace(" ", "\u00a0"),  # on one line
        "number": _number,
        "points": points,
        "brief": "{:g}".format,
    }
    return made


def _charts(
    document: Document, curves: xr.Dataset, task: Taught, verification: Document | None
) -> dict[str, Any]:
    best, n = document["recommended"], document["samples"]["sizes"][-1]
    data = frames.one_epoch(curves, document["teacher"]["recommended_epoch"])
    setting = {"soft_ratio": best["soft_ratio"], "temperature": best["temperature"]}
    frame = frames.settings_frame(data)
    what = "error against labels" if "error" in data else "disagreement with the teacher"
    by_ratio = frames.inefficiency_frame(data.sel(temperature=best["temperature"]), "soft_ratio")
    found = {
        "error_by_soft_ratio": charts.error_by_soft_ratio(frame, what, best, n),
        "risks_over_n": charts.risks_over_n(frames.risks_frame(data.sel(setting), frames.RISKS), n),
        "bounds_over_n": charts.risks_over_n(
            frames.risks_frame(data.sel(setting), frames.BOUNDS), n
        ),
        "inefficiency_by_soft_ratio": charts.inefficiency_over_n(
            by_ratio, "soft_ratio", "soft ratio ρ", n
        ),
    }
    if "epoch" in curves.dims:
        by_epoch = frames.inefficiency_frame(curves.sel(setting), "epoch")
        found["inefficiency_by_epoch"] = charts.inefficiency_over_n(by_epoch, "epoch", "epoch", n)
    if "cos_teacher_reference" in data:
        found["correction_angles"] = charts.correction_angles(frame, best["temperature"], n)
    if verification is not None:
        found["predicted_against_real"] = charts.predicted_against_real(
            frames.verified_frame(verification)
        )
    flips = _flips(document, task)
    if len(flips):
        found["flip_ratios"] = charts.flip_ratio_histogram(flips, best["soft_ratio"])
    return found


def _flips(document: Document, task: Taught) -> np.ndarray:
    if task.y_train is None:
        return np.empty(0)
    index = _epoch_index(document, task)
    return error_flip_ratios(
        task, index, document["recommended"]["temperature"], document["t_power"]
    )


def _epoch_index(document: Document, task: Taught) -> int:
    epoch = document["teacher"]["recommended_epoch"]
    return 0 if task.teacher_epochs is None else int(task.teacher_epochs.tolist().index(epoch))


def _lists(document: Document, task: Taught) -> list[dict[str, Any]]:
    index = _epoch_index(document, task)
    given = task.teacher_decisions("train")[index]
    of = document["teacher"]
    return [
        {
            "key": key,
            "title": title,
            "note": note,
            "count": len(of.get(key, [])),
            "samples": [
                {
                    "id": i,
                    "teacher": _class(task, given[i]),
                    "label": _label(task, i),
                    "picture": thumbnail(task, i),
                    "text": _text(task, i),
                }
                for i in of.get(key, [])[:_SHOWN]
            ],
        }
        for key, (title, note) in LISTS.items()
    ]


def _listed(document: Document, task: Taught) -> dict[str, list[list[str]]]:
    """What a list's download holds: samples, with what the teacher takes them for and labels."""
    given = task.teacher_decisions("train")[_epoch_index(document, task)]
    return {
        key: [[str(i), _class(task, given[i]), _label(task, i)] for i in of[:_DOWNLOADED]]
        for key, of in document["teacher"].items()
        if key in LISTS
    }


def _label(task: Taught, i: int) -> str:
    labels = task.y_train
    return "none" if labels is None or labels[i] == NOT_LABELLED else _class(task, labels[i])


def _class(task: Taught, number: int) -> str:
    names = task.class_names
    return str(number) if names is None else names[number]


def _text(task: Taught, i: int) -> str | None:
    text = task.text(i)
    return None if text is None else shorten(text, _LONGEST, placeholder=" …")


def _at_sizes(samples: Document) -> list[Document]:
    """What the slider's line says at each n."""
    names = ("error", "error_se", "agreement", "expected_transfer_risk", "risk_bound")
    return [
        {"n": n} | {name: None if samples[name] is None else samples[name][k] for name in names}
        for k, n in enumerate(samples["sizes"])
    ]


def _script(code: str) -> Markup:
    """Our own dependency's code, which cannot end the script element it stands in."""
    return Markup(code.replace("</script", "<\\/script"))  # noqa: S704 (it is no user's text)


def _script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, default=_scalar)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


def _scalar(value: Any) -> Any:
    return value.item()


def _number(value: float | None, digits: int = 2) -> str:
    return "not known" if value is None else f"{value:.{digits}f}"
