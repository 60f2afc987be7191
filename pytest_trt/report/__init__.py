"""Reports: records in, text out; `write` puts that text where it is wanted. Nothing is judged here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pytest_trt.drafts import write_whole
from pytest_trt.records import ALWAYS_FAIL, Environment, Result, Status

BACKENDS = {
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
    "tensorrt_lean": "TensorRT lean",
    "tensorrt_dispatch": "TensorRT dispatch",
    "onnxruntime": "ONNX Runtime",
    "pytorch": "PyTorch",
}
"""What the backends are called where a person reads."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What a report says of the run as a whole. `baseline` is its name, None where none is compared with; with a
    `commit` it is a git revision's. `failing` are the statuses that fail a test in this run."""

    device: str
    backend: str
    baseline: str | None = None
    failing: frozenset[Status] = ALWAYS_FAIL
    commit: str = ""

    @classmethod
    def of(
        cls,
        environment: Environment,
        baseline: str | None,
        failing: frozenset[Status] = ALWAYS_FAIL,
        commit: str = "",
    ) -> Header:
        return cls(device_name(environment), backend_name(environment), baseline, failing, commit)

    @property
    def title(self) -> str:
        baseline = "no baseline" if self.baseline is None else f"baseline {self.baseline}"
        if self.commit:
            baseline = f"against {self.baseline} ({self.commit})"
        return "trt: " + ", ".join(part for part in (self.device, self.backend, baseline) if part)


def device_name(environment: Environment) -> str:
    """The device's own name, and its slice where it is one."""
    return environment.device + (f" MIG {environment.mig_profile}" if environment.mig_profile else "")


def backend_name(environment: Environment) -> str:
    """The backend and its version, such as `TensorRT 8.6.0`."""
    return f"{BACKENDS.get(environment.backend, environment.backend)} {environment.backend_version}"


def environment_line(environment: Environment) -> str:
    """Where a figure was measured, in one line."""
    parts = [device_name(environment), backend_name(environment)]
    parts += [f"driver {environment.driver}"] if environment.driver else []
    parts += [f"CUDA {environment.cuda}"] if environment.cuda else []
    parts += [f"{environment.threads} threads"] if environment.kind == "cpu" and environment.threads else []
    parts += [f"commit {_short(environment.commit)}"] if environment.commit else []
    return ", ".join(parts)


def _short(commit: str) -> str:
    """A commit's first digits, and its `+` where files were changed since."""
    return commit[:10] + ("+" if commit.endswith("+") else "")


def text(form: str, results: Sequence[Result], header: Header) -> str:
    """The report in one of the forms of --trt-report. Raises KeyError for any other."""
    from pytest_trt.report import benchmark_json, html, markdown, result_json

    return {
        "html": lambda: html.render(results, header),
        "md": lambda: markdown.render(results, header),
        "json": lambda: result_json.render(results),
        "benchmark-json": lambda: benchmark_json.render(results),
    }[form]()


def write(form: str, path: Path, results: Sequence[Result], header: Header) -> None:
    """Write that report to `path`, whose folder is made; whole or not at all. `trtexec` is a folder of files. Raises
    OSError."""
    if form == "trtexec":
        from pytest_trt.report import trtexec_json

        for name, content in trtexec_json.files(results).items():
            _write(path / name, content)
    else:
        _write(path, text(form, results, header))


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
