"""The options, ini settings and markers that are registered with pytest.

Every start of pytest imports this module, so that it imports nothing else of pytest-trt. The values of options are
parsed by `parse_settings`, once they are needed.
"""

from __future__ import annotations

from typing import NamedTuple


class Option(NamedTuple):
    """One command-line option, and the ini setting of the same name with underscores.

    Attributes:
        flag: The option, such as `--trt-backend`.
        field: The field of Settings that the option sets.
        help: The help text, with the default in parentheses. `%%` is a percent sign.
        metavar: The placeholder of the value in the help text. An option without one is a flag.
        repeatable: Whether the option may be given more than once.
        keyed: Whether each value is `KEY=VALUE`. The command line then overrides the ini file key by key.
        setting: The name of the ini setting, if it is not the option's name with underscores.
    """

    flag: str
    field: str
    help: str
    metavar: str = ""
    repeatable: bool = False
    keyed: bool = False
    setting: str = ""

    @property
    def destination(self) -> str:
        """The name of argparse's destination."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def name(self) -> str:
        """The name of the ini setting."""
        return self.setting or self.destination

    @property
    def ini_type(self) -> str:
        """The type of the ini setting, as `parser.addini` takes it."""
        return ("linelist" if self.repeatable else "string") if self.metavar else "bool"

    def overriding(self, ini: list[str] | None, given: list[str]) -> list[str]:
        """Return the values of a keyed option: those of the command line, and the ini file's for all other keys."""
        keys = {value.partition("=")[0].strip() for value in given}
        return [*(value for value in ini or () if value.partition("=")[0].strip() not in keys), *given]


OPTIONS = (
    Option("--trt-backend", "backend", "backend that runs the engines (auto: TensorRT if it is installed and there is "
           "a GPU, then ONNX Runtime on the GPU; without a GPU, ONNX Runtime on the CPU)",
           "auto|tensorrt|tensorrt_rtx|tensorrt_lean|tensorrt_dispatch|onnxruntime_cuda|onnxruntime_tensorrt|"
           "onnxruntime"),
    Option("--trt-device", "device", "GPUs to use among the visible ones: all, or a list of numbers, UUIDs and words "
           "of their names; each xdist worker uses one at a time (0)", "all|N|UUID|WORDS,..."),
    Option("--trt-host", "hosts", "host elsewhere that builds and runs the engines: ssh://HOST?python=PATH, exec: and "
           "a command that starts Python there, or ray; may be repeated; off: none (this host)",
           "ssh://HOST|exec:COMMAND|ray|off",
           repeatable=True, setting="trt_hosts"),
    Option("--trt-require-device", "require_device", "words of the required device's name; on any other device, "
           "pytest runs no test and exits with status 4", "WORDS"),
    Option("--trt-compute-capability", "compute_capabilities", "compute capabilities to build TensorRT-RTX "
           "engines for, ahead of time", "89,120"),
    Option("--trt-baseline-save", "baseline_save", "save the measurements of this run as the baseline"),
    Option("--trt-baseline-force", "baseline_force", "with --trt-baseline-save: also save tests whose verdict fails"),
    Option("--trt-baseline-new-only", "baseline_new_only", "with --trt-baseline-save: save only tests that have no "
           "baseline yet"),
    Option("--trt-baseline", "baseline", "name of the baseline to compare with or to save to (main); off: compare with "
           "none", "NAME|off"),
    Option("--trt-baseline-dir", "baseline_dir", "where baselines are stored: a folder or an fsspec URL "
           "(.trt-baselines)", "PATH|URL"),
    Option("--trt-baseline-ref", "baseline_ref", "read the baselines from this git revision", "REV"),
    Option("--trt-against", "against", "build the engines of this git revision too, and measure each test's engine "
           "alternately with its counterpart, instead of comparing with a stored baseline", "REV"),
    Option("--trt-budgets", "budgets", "TOML file of budgets, as an alternative to trt_budget markers", "FILE"),
    Option("--trt-fail-on", "fail_on", "additional verdicts that fail a test, such as missing,inconclusive", "LIST"),
    Option("--trt-strict", "strict", "same as --trt-fail-on=inconclusive,missing,unenforced"),
    Option("--trt-max-slowdown", "max_slowdown", "how much slower than its baseline a test may be (5%%)", "P"),
    Option("--trt-max-memory-growth", "max_memory_growth", "how much more memory than its baseline a test may use "
           "(5%%)", "P"),
    Option("--trt-gate", "gates", "how much worse than its baseline another figure may be, such as engine_mb=10%% or "
           "load_s=50%%; FIGURE=off does not compare it; may be repeated", "FIGURE=P", repeatable=True, keyed=True),
    Option("--trt-resolution", "resolution", "stop measuring at this half-width of the confidence interval (0.5%%)",
           "P"),
    Option("--trt-max-time", "max_time_s", "stop measuring a test after this many seconds (10)", "S"),
    Option("--trt-min-time", "min_time_s", "measure a test for at least this many seconds (0.1)", "S"),
    Option("--trt-wait", "wait_s", "how many seconds to wait for a GPU that another process keeps busy (60)", "S"),
    Option("--trt-energy", "energy", "also measure the energy of an inference, which takes 17 s a test, and 32 s "
           "if two engines take turns"),
    Option("--trt-lock-dir", "lock_dir", "folder of the locks that let one run at a time use a GPU; share it between "
           "the containers of a host (a folder of the user in TMPDIR)", "PATH"),
    Option("--trt-cache-dir", "cache_dir", "folder of the engine cache (the user's cache folder)", "PATH"),
    Option("--trt-cache-size", "cache_bytes", "maximum size of the engine cache (20GB)", "SIZE"),
    Option("--trt-no-cache", "no_cache", "build every engine again and store none"),
    Option("--trt-builds", "builds", "build each engine this many times, to measure how much builds differ (1)", "K"),
    Option("--trt-build-only", "build_only", "build the engines that the tests' markers declare, without running "
           "the tests"),
    Option("--trt-prebuild", "prebuild", "build the engines that the tests need before the first test runs, one at a "
           "time on each GPU of --trt-device"),
    Option("--trt-report", "reports", "write a report: a format (html, md, json, json-all, benchmark-json or "
           "trtexec), a colon and a path, which is a folder for trtexec; may be repeated", "FORMAT:PATH",
           repeatable=True),
    Option("--trt-bisect", "bisect", "if outputs are inaccurate, find the first layer that departs from the reference; "
           "this builds the model again with more outputs"),
    Option("--trt-only", "only", "run only the tests of this plugin"),
    Option("--trt-skip", "skip", "skip the tests of this plugin"),
    Option("--trt-disable", "disabled", "run the bodies of the tests once, without measuring"),
)  # fmt: skip
"""All options, in the order of the help text."""

MARKERS = {
    "trt_engine": "trt_engine(path, *, shapes, dims, onnx, build, **spec): the engine that the test is about",
    "trt_matrix": "trt_matrix(**axes): run the test for every combination of precision, batch, dimensions, ...",
    "trt_budget": "trt_budget(device='gpu', /, *, ms, p99_ms, memory_mb, ..., where): limits on the test's figures",
    "trt_pipeline": "trt_pipeline(*, cuda_graph, contexts, depth, pinned, ...): how the engine is run",
    "trt_accuracy": "trt_accuracy(*, reference, rtol, atol, cosine, psnr_db, top1, top5, unordered, inputs): the "
    "reference of the outputs, and how far they may differ from it",
    "trt_generate": "trt_generate(*, prompt, steps, prefill, sampler): the tokens that a measurement generates",
    "trt_layers": "trt_layers(*, max_reformats, max_layers, no_fp32, unchanged): what the engine's layers may be",
    "trt_regression": "trt_regression(*, max_slowdown, max_memory_growth, paired, enforce, until, reason, engine_mb, "
    "host_mb, ...): how far this test may move from its baseline",
}
"""The help line of each marker, by name."""
