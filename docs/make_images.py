"""Make the images of the documentation: the terminal, the HTML report, a site, a comment and the layers of an engine.

    python docs/make_images.py [terminal] [report] [site] [comment] [explorer]

The example project is measured on this machine's CPU, before and after its models become three times as deep. The site
also shows what follows: the slower engines are accepted, and a third of their blocks is removed again. The pivot shows
the networks that were measured on an H200 (docs/results/2026-11-24-h200-networks.json). It needs Chromium and git. Run
it on a machine that does nothing else: a busy one shows in the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
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


PYTEST = ("-m", "pytest", "--no-header", "--color=yes", "--trt-cache-dir=engines")
COMMAND = ("-c", "import sys; from pytest_trt.cli.main import main; sys.exit(main())")
LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

OpenPage = Callable[..., Page]

COMMENT_PAGE = """<!doctype html><meta charset="utf-8"><title>comment</title><style>
body { margin: 24px; font: 14px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff }
.comment { border: 1px solid #d0d7de; border-radius: 6px }
.author { padding: 8px 16px; background: #f6f8fa; border-bottom: 1px solid #d0d7de; border-radius: 6px 6px 0 0 }
.text { padding: 0 16px 12px }
code, pre { font: 12px/1.45 ui-monospace, monospace; background: #f0f2f4; border-radius: 6px }
code { padding: 0.2em 0.4em } pre { padding: 12px; overflow: auto } pre code { padding: 0 } a { color: #0969da }
</style><div class="comment"><div class="author"><b>github-actions</b> commented</div><div class="text">TEXT</div></div>
"""


def python(project: Path, *arguments: str, status: int = 0) -> str:
    """Run Python in the example project, and return its output, in which no folder of this machine is named."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI", "GITLAB_"))
    }
    done = subprocess.run([sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.replace(f"{project.parent}/", "").replace(f"{project.parent.resolve()}/", "")


def commit(project: Path, message: str) -> None:
    """Commit all files of the example project."""
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", f"--message={message}"]):
        subprocess.run([*git, *arguments], cwd=project, check=True)


def run_example(project: Path) -> str:
    """Save baselines of the example project in `project`, make its models deeper, and return the output of pytest.

    Beside the project lie then `report.html` and `run.json`.
    """
    shutil.copytree(
        ROOT / "example_project", project, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "models")
    )
    (project / ".gitignore").write_text("/models/\n/engines/\n__pycache__/\n.*cache/\n")
    python(project, "make_models.py")
    commit(project, "Add two models")
    python(project, *PYTEST, "--trt-baseline-save")
    commit(project, "Save what they take")
    python(project, "make_models.py", "--depth=3")
    # The pages show the command, so it names no folder of this machine.
    reports = ("--trt-report=html:../report.html", "--trt-report=json:../run.json")
    return python(project, *PYTEST, "--trt-max-slowdown=30%", *reports, status=1)


def continue_example(project: Path) -> None:
    """Accept the slower engines, then remove a third of their blocks and save that."""
    reason = "--reason=three times as deep, as the accuracy needs it"
    python(project, *COMMAND, "baseline", "accept", "tests/*", "--from=../run.json", reason)
    commit(project, "Make the models deeper")
    python(project, "make_models.py", "--depth=2")
    python(project, *PYTEST, "--trt-baseline-save")
    commit(project, "Remove a third of the blocks")


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


def draw_reports(folder: Path, open_page: OpenPage) -> None:
    """Take screenshots of the report of the example project, and of that of the networks."""
    results = list(networks())
    measured = [r.measurement.environment for r in results if r.measurement is not None]
    (folder / "networks.html").write_text(html.render(results, Header.from_environment(measured[0], None)))
    save(open_page("report.html"), "report-laptop")
    for scheme, name in (("light", "report-test"), ("dark", "report-dark")):
        page = open_page("report.html", color_scheme=scheme)
        show_plots(page)
        save(page, name)
    page = open_page("report.html", viewport=PHONE)
    show_plots(page)
    save(page, "report-phone")
    page = open_page("networks.html")
    page.click("#pivot summary")
    page.get_by_label("Rows").select_option(label="network")
    page.get_by_label("Columns").select_option(label="precision")
    page.locator("#tests").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('tests').scrollIntoView()")
    save(page, "report-pivot")


def draw_site(project: Path, open_page: OpenPage) -> None:
    """Take screenshots of the overview of a site and of the page of a test."""
    continue_example(project)
    python(project, *COMMAND, "site", "../site", "--title=Example project")
    save(open_page("site/index.html"), "site-laptop")
    for viewport, scheme, name in ((LAPTOP, "light", "site-test"), (PHONE, "dark", "site-phone")):
        page = open_page("site/index.html", viewport=viewport, color_scheme=scheme)
        page.locator("main a", has_text=FAILING).last.click()
        page.locator("svg.main-svg").first.wait_for()
        save(page, name)


def draw_comment(project: Path, open_page: OpenPage) -> None:
    """Take a screenshot of the comment on a pull request, whose first failure is unfolded."""
    link = "--report-url=https://example.com/report.html"
    text = python(project, *COMMAND, "comment", "--from=../run.json", "--dry-run", link)
    page_text = COMMENT_PAGE.replace("TEXT", MarkdownIt("commonmark").enable("table").render(text))
    (project.parent / "comment.html").write_text(page_text.replace("<details>", "<details open>", 1))
    page = open_page("comment.html", viewport={"width": 900, "height": 600})
    page.screenshot(path=IMAGES / "comment.png", full_page=True)


def draw_explorer(project: Path, open_page: OpenPage) -> None:
    """Take a screenshot of the layers of an engine."""
    python(project, *COMMAND, "explore", "models/resnet.onnx", "--batch=8", "--html=../engine.html")
    save(open_page("engine.html"), "explorer")


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("terminal", "report", "site", "comment", "explorer")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(kinds)} (default: all)")
    chosen = parser.parse_args().kinds or kinds
    if unknown := set(chosen) - set(kinds):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(kinds)}")
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        project = folder / "example_project"
        output = run_example(project)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def open_page(name: str, **options: Any) -> Page:
            page = browser.new_page(**{"viewport": LAPTOP, **options})
            page.goto((folder / name).as_uri())
            return page

        if "terminal" in chosen:
            draw_terminal(output)
        if "report" in chosen:
            draw_reports(folder, open_page)
        for kind, draw in (("comment", draw_comment), ("explorer", draw_explorer), ("site", draw_site)):
            if kind in chosen:
                draw(project, open_page)
        browser.close()
    print(f"wrote images of {', '.join(chosen)} to {IMAGES.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
