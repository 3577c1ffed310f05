import base64
import re
import struct
import zlib

import numpy as np
import pytest

import tutelage as tu
from needed import needed
from problems import task
from tutelage.report import render_comparison
from tutelage.report.pictures import thumbnail
from tutelage.report.words import undecided

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]


def written(folder, problem, name="report.html", **grid):
    grid = {"soft_ratio": [0.1, 0.5, 1.0], "temperature": [1.0, 4.0], "orderings": 2} | grid
    made = tu.plan(
        problem, curves=tu.curves(problem, tu.kernels.mlp(depth=1), **grid), target_error=0.15
    )
    made.to_html(folder / name)
    return folder / name, made


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report"), task(n=150, m=200, noise=1.5, epochs=[1, 5]))


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=needed(CHROMIUM), args=ARGUMENTS)
        yield started
        started.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_offline_draws_everything_and_follows_n(report, browser, width):
    path, made = report
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(("file:", "data:")) else faults.append(request.url)
        ),
    )
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=30_000)
    for chart in (
        "error_by_soft_ratio",
        "risks_over_n",
        "bounds_over_n",
        "inefficiency_by_soft_ratio",
        "inefficiency_by_epoch",
        "correction_angles",
        "flip_ratios",
    ):
        assert page.locator(f"#{chart} svg path").count() > 3, chart
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = "[...document.querySelectorAll('.wide')].map(e => e.scrollWidth - e.clientWidth)"
    assert max(page.evaluate(beyond)) <= 0

    def points():
        return page.locator("#error_by_soft_ratio svg .mark-symbol path").evaluate_all(
            "e => e.map(p => p.getAttribute('transform'))"
        )

    at_pool, said = points(), page.inner_text("#at-n")
    assert said.startswith("n = 150: error")
    page.locator("#n").fill("0")
    page.wait_for_function("document.getElementById('at-n').textContent.startsWith('n = 32')")
    page.wait_for_timeout(300)
    assert points() != at_pool
    point = page.locator("#risks_over_n svg .mark-symbol path").first
    point.evaluate(
        "e => e.scrollIntoView({block: 'center'})"
    )  # clear of the slider, which stays at the top
    box = point.bounding_box()
    for step in (2, 0):  # a chart sees the mouse when it moves
        page.mouse.move(box["x"] + box["width"] / 2 + step, box["y"] + box["height"] / 2)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "share" in page.inner_text("#vg-tooltip-element")
    assert not faults
    context.close()
    best = made.recommended
    assert f"soft ratio {best.soft_ratio:g}, temperature {best.temperature:g}" in path.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_can_be_used_by_everyone(report, browser, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    page.goto(report[0].as_uri())
    page.wait_for_selector("body[data-ready]", timeout=30_000)
    found = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_comparison_fits_and_can_be_used_by_everyone(report, browser, width, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    document = report[1].as_dict()
    (tmp_path / "c.html").write_text(render_comparison({"one": document, "another": document}))
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page = context.new_page()
    page.goto((tmp_path / "c.html").as_uri())
    page.wait_for_selector("body[data-ready]", timeout=30_000)
    beyond = "[...document.querySelectorAll('.wide')].map(e => e.scrollWidth - e.clientWidth)"
    assert max(page.evaluate(beyond)) <= 0
    assert page.locator("#errors svg path").count() > 3
    found = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []
    context.close()


def test_samples_are_filtered_and_downloaded(report, browser, tmp_path):
    path, made = report
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=30_000)
    ids = made.teacher.teacher_corrects_label
    assert len(ids) > 1
    shown = page.locator("#list-teacher_corrects_label > div:visible")
    before = shown.count()
    page.locator("[data-filter=teacher_corrects_label]").fill(str(ids[0]))
    assert 1 <= shown.count() < before
    with page.expect_download() as download:
        page.locator("[data-csv=teacher_corrects_label]").click()
    download.value.save_as(tmp_path / "list.csv")
    lines = (tmp_path / "list.csv").read_text().splitlines()
    assert lines[0] == "sample,teacher,label"
    assert [int(line.split(",")[0]) for line in lines[1:]] == ids
    context.close()


def test_the_page_is_small(report):
    assert report[0].stat().st_size < 1.5e6


def test_the_page_needs_nothing_but_itself(report):
    text = report[0].read_text()
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", markup)


def test_what_users_write_is_escaped(tmp_path):
    class Odd:
        spec = "<script>alert(1)</script>&"
        inner = tu.kernels.mlp(depth=1)

        def __call__(self, x1, x2=None):
            return self.inner(x1, x2)

        def diag(self, x):
            return self.inner.diag(x)

    problem = task()
    tu.plan(problem, curves=tu.curves(problem, Odd(), orderings=1, soft_ratio=[0.5, 1])).to_html(
        tmp_path / "r.html"
    )
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    "problem",
    [
        task(labels=False),
        task(test=False),
        task(n_classes=2),
        task(n_classes=2, labels=False, test=False),
    ],
    ids=["no labels", "no test part", "one logit", "bare"],
)
def test_every_kind_of_task_has_a_report(tmp_path, problem):
    path, made = written(tmp_path, problem)
    best = made.recommended
    setting = f"soft ratio {best.soft_ratio:g}, temperature {best.temperature:g}"
    alike = best.verdict == "flat" and not undecided(made.as_dict())
    assert (f"Do not tune: use {setting}" if alike else f"Use {setting}") in path.read_text()


def pixels_of(png):
    """Of a PNG in one part and without filters, (height, width, channels)."""
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert (png[:8], depth) == (b"\x89PNG\r\n\x1a\n", 8)
    start = png.index(b"IDAT")
    [length] = struct.unpack(">I", png[start - 4 : start])
    raw = zlib.decompress(png[start + 4 : start + 4 + length])
    rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
    assert (rows[:, 0] == 0).all()
    return rows[:, 1:].reshape(height, width, {0: 1, 2: 3}[colour])


def test_images_are_shown():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(8, 2))
    for shape in ((9, 9, 3), (9, 9), (9, 9, 1), (81,)):
        pictured = tu.Task(rng.integers(0, 255, (8, *shape)).astype(np.uint8), z)
        kind, _, data = thumbnail(pictured, 3).partition(",")
        assert kind == "data:image/png;base64"
        pixels = pixels_of(base64.b64decode(data)).squeeze().astype(float)
        image = pictured.x_train[3].reshape(9, 9, -1).squeeze().astype(float)
        low, high = image.min(), image.max()
        np.testing.assert_allclose(pixels, (image - low) / (high - low) * 255, atol=0.51)
    assert thumbnail(tu.Task(rng.normal(size=(8, 5)), z), 0) is None


def test_what_real_students_say_is_what_the_report_says_to_train(tmp_path):
    path, made = written(tmp_path, task())
    assert "Plan.load(folder).loss()" in path.read_text()
    rows = [
        {
            "soft_ratio": rho, "temperature": 4.0, "role": role, "predicted": 0.2,
            "predicted_se": 0.01, "real": real, "real_se": 0.01, "within": True,
        }
        for rho, role, real in ((0.7, "best", 0.1), (0.2, "recommended", 0.2))
    ]  # fmt: skip
    verified = made.as_dict() | {
        "best": (0.7, 4.0), "regret": 0.1, "regret_se": 0.01, "students": 4, "rows": rows,
        "rank_correlation": None, "seconds": 1.0, "plan_seconds": 1.0, "epochs": 3,
        "learning_rate": 0.1, "student": "mine",
    }  # fmt: skip
    made.to_html(path, verified)
    text = path.read_text()
    assert "Use soft ratio 0.7, temperature 4, as real students say" in text
    assert "softened by dividing its logits by 4, by 70 % and the labels by 30 %" in text
    assert "DistillationLoss(0.7, 4)" in text
    assert "alpha = 0.3, beta = 0.7, temperature = 4" in text
    assert "Plan.load(folder).loss()" not in text
    assert "4 real students were then trained to check it" in text
