"""What pytest is told at every start: options, ini settings and markers. So this room imports nothing of ours, and
what options mean is for `settings`, when it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    pass


class Option(NamedTuple):
    """One option, and the ini setting of the same name with underscores. Without a `metavar` it is a flag; `field` is
    the one of Settings that it gives."""

    flag: str
    field: str
    help: str
    metavar: str = ""
    repeatable: bool = False

    @property
    def name(self) -> str:
        """The ini file's name, and argparse's destination."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def ini_type(self) -> str:
        return ("linelist" if self.repeatable else "string") if self.metavar else "bool"


OPTIONS = (
    Option("--trt-backend", "backend", "what runs the engines (auto: TensorRT where a GPU and TensorRT are, else ONNX "
           "Runtime on the CPU)", "auto|tensorrt|tensorrt_rtx|tensorrt_lean|tensorrt_dispatch|onnxruntime"),
    Option("--trt-device", "device", "which GPU, by number or UUID (0)", "N|UUID"),
    Option("--trt-require-device", "require_device", "words of the device's name; on any other device nothing runs and "
           "pytest exits with 4", "WORDS"),
    Option("--trt-compute-capability", "compute_capabilities", "what an ahead-of-time TensorRT-RTX build is for",
           "89,120"),
    Option("--trt-baseline-save", "baseline_save", "store what the tests cost now as the baseline"),
    Option("--trt-baseline-force", "baseline_force", "store also tests whose verdict fails"),
    Option("--trt-baseline-new-only", "baseline_new_only", "store only tests that have no baseline yet"),
    Option("--trt-baseline", "baseline", "the baseline to compare with or to save to (main); off: none", "NAME|off"),
    Option("--trt-baseline-dir", "baseline_dir", "where baselines are kept: a folder or an fsspec URL "
           "(.trt-baselines)", "PATH|URL"),
    Option("--trt-baseline-ref", "baseline_ref", "read the baselines as they stand at this git revision", "REV"),
    Option("--trt-against", "against", "no stored baseline: build this git revision's engines too, and have each test "
           "take turns with its own there", "REV"),
    Option("--trt-budgets", "budgets", "a TOML file of budgets, for those who keep them out of code", "FILE"),
    Option("--trt-fail-on", "fail_on", "further verdicts that fail a test, such as missing,inconclusive", "LIST"),
    Option("--trt-strict", "strict", "the same as --trt-fail-on=inconclusive,missing,unenforced"),
    Option("--trt-max-slowdown", "max_slowdown", "how much slower than its baseline a test may be (5%%)", "P"),
    Option("--trt-max-memory-growth", "max_memory_growth", "how much more memory than in its baseline a test may use "
           "(5%%)", "P"),
    Option("--trt-resolution", "resolution", "stop measuring at this half-width of the interval (0.5%%)", "P"),
    Option("--trt-max-time", "max_time_s", "stop measuring a test after this many seconds (10)", "S"),
    Option("--trt-min-time", "min_time_s", "measure a test for at least this many seconds (0.1)", "S"),
    Option("--trt-wait", "wait_s", "how long to wait for a GPU that another process keeps busy (60)", "S"),
    Option("--trt-cache-dir", "cache_dir", "where built engines are kept (the user's cache folder)", "PATH"),
    Option("--trt-cache-size", "cache_bytes", "how large the engine cache may grow (20GB)", "SIZE"),
    Option("--trt-no-cache", "no_cache", "build every engine anew and keep none"),
    Option("--trt-builds", "builds", "build each engine this many times, to measure the build lottery (1)", "K"),
    Option("--trt-build-only", "build_only", "build what each test's markers need and run no test body"),
    Option("--trt-report", "reports", "write a report: html, md, json, benchmark-json or trtexec (a folder), a colon "
           "and a path; may stand more than once", "FORMAT:PATH", repeatable=True),
    Option("--trt-bisect", "bisect", "where outputs are inaccurate, find the first layer that departs: builds the "
           "model again, with tensors marked as outputs"),
    Option("--trt-only", "only", "run only the tests of this plugin"),
    Option("--trt-skip", "skip", "run none of the tests of this plugin"),
    Option("--trt-disable", "disabled", "run the tests' bodies once, unmeasured"),
)  # fmt: skip

MARKERS = {
    "trt_engine": "trt_engine(path, *, shapes, dims, onnx, build, **spec): which engine the test is about",
    "trt_matrix": "trt_matrix(**axes): run the test for every combination of precision, batch, dimensions, ...",
    "trt_budget": "trt_budget(device='gpu', /, *, ms, p99_ms, memory_mb, ..., where): what the test may cost",
    "trt_pipeline": "trt_pipeline(*, cuda_graph, contexts, depth, pinned, ...): how the engine is run",
    "trt_accuracy": "trt_accuracy(*, reference, rtol, atol, cosine, psnr_db, top1, top5, unordered, inputs): what the "
    "outputs must be",
    "trt_regression": "trt_regression(*, max_slowdown, max_memory_growth, paired, enforce, until, reason): this test's "
    "own tolerance against its baseline",
}
