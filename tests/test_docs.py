"""What the documentation is made from: the schema of plan.json, and the pages' prose."""

import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import tutelage as tu
from problems import task

ROOT = Path(__file__).parents[1]
GRID = {"soft_ratio": [0.5, 1.0], "temperature": [1.0], "orderings": 2}


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


SCHEMA = json.loads((ROOT / "docs/reference/plan.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_that_of_the_classes_and_names_every_field():
    made = script("plan_schema").schema()
    assert made == SCHEMA, "run scripts/plan_schema.py"
    for part in (made, *made["$defs"].values()):
        for name, value in part["properties"].items():
            assert value.get("description"), name


@pytest.mark.parametrize(
    "problem",
    [
        task(epochs=[1, 5]), task(labels=False), task(test=False), task(n_classes=2),
        task(n_classes=2, labels=False, test=False),
    ],
    ids=["epochs", "no labels", "no test part", "one logit", "bare"],
)  # fmt: skip
def test_every_kind_of_plan_is_valid(problem):
    plan = tu.plan(problem, student=tu.kernels.mlp(depth=1), target_error=0.2, **GRID)
    VALIDATOR.validate(json.loads(plan.to_json()))


def test_a_plan_with_pilots_and_some_labels_is_valid():
    whole = task(n=200, m=200)
    y = np.where(np.arange(200) % 3 == 0, whole.y_train, -100)
    some = tu.Task(
        whole.x_train, whole.teacher_logits_train, y,
        whole.x_test, whole.teacher_logits_test, whole.y_test,
    )  # fmt: skip
    training = tu.lab.Training(4, 0.05)
    student = tu.lab.student("mlp:width=16,depth=1", training=training, epochs=40)
    plan = tu.plan(some, student=student, soft_ratio=[0.5, 1.0], temperature=[1.0], budget=2.0)
    document = json.loads(plan.to_json())
    assert document["teacher"]["label_next"]
    VALIDATOR.validate(document)
    document["recommended"]["verdicts"] = "clear"
    with pytest.raises(jsonschema.ValidationError, match="verdicts"):
        VALIDATOR.validate(document)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert all(link.startswith("https://") or (ROOT / link).exists() for link in links), links


def test_prose_that_is_hard_to_read_is_refused(tmp_path):
    prose = script("prose")
    page = tmp_path / "page.md"
    page.write_text(
        "# Title that is not read\n\nShort words help. `code` too.\n\n    tutelage plan\n\n| a |"
        " b |\n"
    )
    said = prose.sentences(page)
    assert said == ["Short words help.", "too."]
    assert prose.refused(said, prose.reading_ease(said)) == []
    long = ["Institutional considerations necessitate comprehensive interdisciplinary evaluation."]
    assert prose.reading_ease(long) < 0
    assert prose.refused(long, prose.reading_ease(long))[0].startswith("a reading ease of -")
    many = " ".join(["word"] * 41) + "."
    assert prose.refused([many], 90)[0].startswith("a sentence of 41 words")
    assert prose.refused(["It is simply fast."], 90) == ["“simply” in: It is simply fast."]


@pytest.mark.parametrize(
    ("word", "count"),
    [("student", 2), ("teacher", 2), ("make", 1), ("temperature", 4), ("trained", 1)],
)
def test_syllables(word, count):
    assert script("prose").syllables_of(word) == count
