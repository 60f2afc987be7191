"""Measure the HTML report of 1,000 tests: how long it takes to write, its size, and how fast a browser shows it.

    python benchmarks/html_report.py [tests]

Every test has 400 samples a side and 120 layers with the names that TensorRT gives them. The browser is Debian's
Chromium, started headless. Times are of the CPU for writing, and of the wall for the browser. The exit status is 1 if
writing takes more than 5 s, the page has more than 15 MB, or showing or filtering it takes more than 2 s.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from samples.records import measurement
from samples.reports import HEADER, compared, result

from pytest_trt.core.records import Layer, LayerProfile, Result
from pytest_trt.report import html

TESTS = 1000
WRITTEN_S, MOST_MB, SHOWN_S = 5.0, 15.0, 2.0


def layers(count: int = 120) -> tuple[Layer, ...]:
    """Return layers with names as long as those of a transformer in TensorRT."""
    return tuple(
        Layer(
            name=f"/model/layer.{n}/attention/self/query/MatMul + /model/layer.{n}/attention/self/query/Add",
            ms=0.001 + n * 1e-5,
            kind="gemm",
            tactic=f"sm90_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize128x128x64_stage3_warpsize2x2x1_{n}",
            precision="FP16",
            formats="Half row major",
            nodes=(f"/model/layer.{n}/attention/self/query/MatMul", f"/model/layer.{n}/attention/self/query/Add"),
        )
        for n in range(count)
    )


def results(count: int) -> list[Result]:
    """Return results of two precisions and eight batches, of which one in forty failed."""
    profile, made = LayerProfile(layers(), runs=50), []
    for n in range(count):
        one = result(f"test_{n % 50}[{n}]", compared("regressed" if n % 40 == 0 else "ok", 1.2 if n % 40 == 0 else 1.0))
        spec = {"path": "m.onnx", "precision": ("fp16", "fp32")[n % 2], "batch": str(n % 8)}
        new = measurement(0.2 + n * 1e-4, one.node_id, spec=spec, profile=profile)
        made.append(dataclasses.replace(one, measurement=new, reference=new))
    return made


def browse(file: Path) -> dict[str, float]:
    """Return the seconds until the page is loaded, until it is filtered, and until a section has its first plot."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto("about:blank")
        times = {}
        for name, act in (
            ("load", lambda: page.goto(file.as_uri())),
            ("filter", lambda: page.fill("#search", "test_7[")),
            ("sort", lambda: page.click("#all thead th:nth-child(2) button")),
            ("open", lambda: page.click("#all tbody tr:not([hidden]) a") or page.wait_for_selector("svg.main-svg")),
        ):
            started = time.perf_counter()
            act()
            times[name] = time.perf_counter() - started
        browser.close()
    return times


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else TESTS
    made = results(count)
    started = time.process_time()
    text = html.render(made, HEADER)
    written_s, megabytes = time.process_time() - started, len(text.encode()) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_text(text, encoding="utf-8")
        times = browse(file)
    print(f"{count} tests: {megabytes:.1f} MB, written in {written_s:.1f} s of CPU time")
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items()))
    return int(written_s > WRITTEN_S or megabytes > MOST_MB or max(times["load"], times["filter"]) > SHOWN_S)


if __name__ == "__main__":
    sys.exit(main())
