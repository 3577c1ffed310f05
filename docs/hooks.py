"""Pages that are made from the code when the site is built: commands, plan.json, curves."""

import json
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from tutelage import cli  # noqa: F401 (it adds the commands)
from tutelage.cli.app import app
from tutelage.variables import SCHEMA

ROOT = Path(__file__).parent
EXITS = """Exit codes

0: done. 2: the input or the command is wrong, and one sentence on stderr says what to do. 130:
interrupted. 1: a defect of tutelage.
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for name, text in (
        ("command-line", commands()), ("plan-json", plan_json()), ("curves", curves()),
    ):  # fmt: skip
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def commands() -> str:
    """Every command with its options."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="tutelage")
    before, *parts = re.split(r"(?m)^## ", text)
    before = before.partition("**Commands**")[0].replace("# `tutelage`", "# Command line", 1)
    parts = [part for part in parts if not part.startswith("`tutelage stream`")]
    return "## ".join([before, *parts, EXITS])


def plan_json() -> str:
    """The fields of plan.json, from its schema."""
    schema = json.loads((ROOT / "reference" / "plan.schema.json").read_text(encoding="utf-8"))
    lines = [
        "# plan.json",
        "",
        (
            "What `tutelage plan` writes for programs, and `Plan.as_dict()` gives. Its"
            " [JSON Schema](plan.schema.json) is checked in the tests against plans of every kind."
        ),
        (
            "Errors and risks are shares, from 0 to 1. `null` is what cannot be known, such as"
            " errors without labels."
        ),
        "",
    ]
    definitions = schema["$defs"]
    for name, part in [("plan", schema), *definitions.items()]:
        said = part.get("description", "")
        lines += [f"## {name}", "", said, "", "| field | type | |", "| --- | --- | --- |"]
        for key, value in part["properties"].items():
            lines.append(f"| `{key}` | {_type(value)} | {value.get('description', '')} |")
        lines.append("")
    return "\n".join(lines)


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"])
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}" if value.get("items") else "pair"
    return str(value.get("type", "any"))


def curves() -> str:
    """The variables of curves.nc."""
    lines = [
        "# curves.nc",
        "",
        (
            'Every predicted number, as netCDF: `tu.load_curves("my-plan/curves.nc")` gives an'
            " `xarray.Dataset`. Its dims are `soft_ratio`, `temperature`, `n` (samples), `ordering`"
            " (random orders of the pool, or starts of a network) and, where the teacher has"
            " checkpoints, `epoch`. Numbers in brackets are equations of [the"
            " theory](../theory.md)."
        ),
        "",
        "| variable | dims | unit | |",
        "| --- | --- | --- | --- |",
    ]
    for name, variable in SCHEMA.items():
        dims = ", ".join(variable.dims)
        lines.append(f"| `{name}` | {dims} | {variable.units} | {variable.says} |")
    return "\n".join(lines) + "\n"
