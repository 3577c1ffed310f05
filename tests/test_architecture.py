"""Rules of the code base that no single module can hold."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import tutelage

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tutelage"

# Imports go from a later layer to earlier ones, and within a layer.
LAYERS = [
    {"exceptions", "version", "progress", "variables", "made_for", "lazy", "devices"},
    {"outputs"},
    {"data"},
    {"kernels", "theory", "datasets"},
    {"train"},
    {"students"},
    {"grid", "solve"},
    {"_engine", "_request"},
    {"_stream", "_predict"},
    {"_curves"},
    {"decisions"},
    {"report"},
    {"pilots"},
    {"_plan"},
    {"lab", "hf", "lightning"},
    {"cli"},
]
NEVER = {("theory", "kernels"), ("kernels", "theory")}


def modules():
    return sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py")


def layer(part):
    [found] = [k for k, names in enumerate(LAYERS) if part in names]
    return found


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tutelage":
            names = (
                [node.module]
                if node.module != "tutelage"
                else [f"tutelage.{a.name}" for a in node.names]
            )
            yield from (name.split(".")[1] for name in names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for other in imported(path):
        assert layer(other) <= layer(part), f"{part} imports {other}"
        assert (part, other) not in NEVER


def test_no_pickle_is_loaded_and_nothing_is_printed_by_the_library():
    for path in modules():
        text = path.read_text()
        assert not re.search(r"allow_pickle=True|import pickle\b|weights_only=False", text), path
        assert not re.search(r"(?<![\w.])print\(", text), path
        assert "set_num_threads" not in text, path


def test_exports_are_sorted_and_exist():
    assert list(tutelage.__all__) == sorted(tutelage.__all__, key=lambda n: (n.lower() == n, n))
    assert all(hasattr(tutelage, name) for name in tutelage.__all__)


def test_version_changelog_and_project_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    latest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    cited = re.search(r"(?m)^version: (.*)$", (ROOT / "CITATION.cff").read_text())
    fallback = project["tool"]["setuptools_scm"]["fallback_version"]
    assert latest[1] == cited[1] == fallback
    assert re.match(r"\d+\.\d+", tutelage.__version__)


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project["dependencies"] + [
        d for extra in project["optional-dependencies"].values() for d in extra
    ]
    reasons = (ROOT / "CONTRIBUTING.md").read_text()
    for requirement in named:
        name = re.match(r"[\w-]+", requirement)[0]
        assert f"| {name} |" in reasons, name
