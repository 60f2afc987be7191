"""Make the images of the documentation: the terminal and the HTML report.

    python docs/make_images.py

The example project is measured on this machine's CPU, before and after its models become three times as deep. The table
and the pivot show the networks that were measured on an H200 (docs/results/2026-11-24-h200-networks.json). It needs
Chromium. Run it on a machine that does nothing else: a busy one shows in the figures.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

from pytest_trt.core import codec
from pytest_trt.core.records import Environment, Estimate, Measurement, Result, Verdict
from pytest_trt.report import html
from pytest_trt.report.header import Header

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
NETWORKS = ROOT / "docs" / "results" / "2026-11-24-h200-networks.json"
COLUMNS = 100
FAILING = "test_resnet[fp32-b8]"


def run_example(folder: Path) -> str:
    """Save baselines of the example project in `folder`, make its models deeper, and return the output of pytest."""
    project = folder / "project"
    shutil.copytree(ROOT / "example_project", project, ignore=shutil.ignore_patterns("__pycache__", ".*", "models"))
    pytest = [sys.executable, "-m", "pytest", "--no-header", "--color=yes", "--trt-cache-dir=engines"]
    subprocess.run([sys.executable, "make_models.py"], cwd=project, check=True, capture_output=True)
    saved = subprocess.run([*pytest, "--trt-baseline-save"], cwd=project, capture_output=True, text=True)
    assert saved.returncode == 0, saved.stdout
    subprocess.run([sys.executable, "make_models.py", "--depth=3"], cwd=project, check=True, capture_output=True)
    report = "--trt-report=html:../report.html"  # the page shows the command, and no folder of this machine
    done = subprocess.run([*pytest, "--trt-max-slowdown=30%", report], cwd=project, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    return done.stdout.replace(f"{folder}/", "").replace(f"{folder.resolve()}/", "")


def draw_terminal(output: str) -> None:
    """Draw the table at the end of the output, with its colours."""
    lines = [Text.from_ansi(line) for line in output.splitlines()]
    start = max(at for at, line in enumerate(lines) if line.plain.startswith("=") and " trt: " in line.plain)
    with open("/dev/null", "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in lines[start:]:
            console.print(line, no_wrap=True, crop=True)
        console.save_svg(str(IMAGES / "terminal.svg"), title="pytest")


def networks() -> Iterator[Result]:
    """Yield the networks that were measured on an H200 as results of tests."""
    for row in json.loads(NETWORKS.read_text())["rows"]:
        environment = codec.decode(Environment, row["environment"]) if row["environment"] else None
        if not row["ran"] or environment is None or environment.backend != "tensorrt":
            continue
        node_id = f"tests/test_networks.py::test_{row['network']}[{row['precision']}]"
        measurement = Measurement(
            node_id=node_id,
            environment=environment,
            figures={name: Estimate.exact(value) for name, value in row["figures"].items()},
            spec={"network": row["network"], "precision": row["precision"]},
            spec_digest="",
            engine_digest=node_id,
            plan_sha256="",
            proof={},
        )
        yield Result(node_id, (Verdict("new", "baseline", "", "a network of the ONNX model zoo"),), measurement)


def save(page: Page, name: str) -> None:
    page.wait_for_timeout(1000)
    page.screenshot(path=IMAGES / f"{name}.png")


def draw_reports(folder: Path) -> None:
    """Take screenshots of the report of the example project, and of that of the networks."""
    results = list(networks())
    measured = [r.measurement.environment for r in results if r.measurement is not None]
    (folder / "networks.html").write_text(html.render(results, Header.from_environment(measured[0], None)))
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def open_page(name: str, **options: Any) -> Page:
            page = browser.new_page(**options)
            page.goto((folder / f"{name}.html").as_uri())
            return page

        laptop = {"width": 1280, "height": 800}
        save(open_page("report", viewport=laptop), "report-laptop")
        for scheme, name in (("light", "report-test"), ("dark", "report-dark")):
            page = open_page("report", viewport=laptop, color_scheme=scheme)
            show_plots(page)
            save(page, name)
        page = open_page("report", viewport={"width": 390, "height": 844})
        show_plots(page)
        save(page, "report-phone")
        page = open_page("networks", viewport=laptop)
        page.click("#pivot summary")
        page.get_by_label("Rows").select_option(label="network")
        page.get_by_label("Columns").select_option(label="precision")
        page.locator("#tests").scroll_into_view_if_needed()
        page.evaluate("document.getElementById('tests').scrollIntoView()")
        save(page, "report-pivot")
        browser.close()


def show_plots(page: Page) -> None:
    """Scroll to the plots of a test that failed."""
    page.locator("#all a", has_text=FAILING).click()
    section = page.locator("details.test", has=page.locator("summary", has_text=FAILING))
    section.locator("figure").first.wait_for()
    for figure in section.locator("figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()
    section.locator(".plots").evaluate("plots => plots.scrollIntoView()")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draw_terminal(run_example(folder))
        draw_reports(folder)
    print(f"wrote {', '.join(sorted(path.name for path in IMAGES.iterdir()))}")


if __name__ == "__main__":
    main()
