"""Make one change at a time on a real GPU, and check the verdict and the blamed layers.

    python benchmarks/blame.py FOLDER                    # about four minutes with TensorRT 8.6 on an H200
    python benchmarks/blame.py FOLDER --part chain       # only that network

The first network is benchmarks/chain.py in FP16 at batch 8, without transfers and with a tolerance of 2 %. Its changes
are an added layer, one layer in FP32, a fusion that an output prevents, another optimisation level, and other tactic
sources. The second is ResNet-18 in FP16 at batch 1, with transfers and a tolerance of 1 %. It is unchanged, rebuilt
without a timing cache (one build, and two builds judged together), extended by a 1x1 convolution, and built in FP32.
Every comparison is paired. FOLDER/blame.json and FOLDER/blame.md are written again after each answer.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chain
import resnet18
from live import Live, ms_verdict, save

from pytest_trt.core.records import LayerProfile, Result
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import BuildError, TrtError
from pytest_trt.judge.baselines import open_baselines
from pytest_trt.judge.regression.blame import blame
from pytest_trt.report import failure
from pytest_trt.report.header import environment_line
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.explain import scale_to_latency
from pytest_trt.trial.trial import Trial

BATCH = 8
ANY = "any"
"""The expected status if the builder decides whether the change costs time. The verdict is only recorded."""


@dataclasses.dataclass(frozen=True)
class Question:
    """A change and the expected answer.

    Attributes:
        change: The change, in words.
        trial: Returns the trial of the changed model.
        status: The expected status.
        cause: The cause that blame should name; empty if there is none.
        layer: The layer that blame should name; empty if there is none.
    """

    change: str
    trial: Callable[[], Trial]
    status: str
    cause: str = ""
    layer: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes:
        network: The name of the network.
        change: The change, in words.
        expected: The expected status.
        status: The status of the verdict.
        ratio: The ratio of the latencies, with its interval.
        named: Whether the expected cause and layer were named.
        wall_s: The duration of the comparison.
        built_s: The duration of the build, if there was one.
        text: The text of the failure, or of the verdict.
        causes: All causes that blame found.
    """

    network: str
    change: str
    expected: str
    status: str
    ratio: tuple[float, float, float] | None
    named: bool
    wall_s: float
    built_s: float | None
    text: str
    causes: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the answer is as expected."""
        return self.expected in (self.status, ANY) and self.named


def resnet(live: Live, two_builds: Live) -> Iterator[Question]:
    """Yield the changes of ResNet-18; `two_builds` judges two builds together."""
    resnet18.save(live.folder / "slower.onnx", more_1x1=1)
    yield Question("nothing", lambda: live.trial("base.onnx"), "ok")
    rebuilt = functools.cache(lambda: live.trial("base.onnx", timing_cache=False).build_again())
    for suffix, judged_by, text in (
        ("", live, "build lottery"),
        (", judged with one more build", two_builds, "builds differ by"),
    ):
        trial = functools.partial(_trial_with_engine, judged_by, rebuilt)
        yield Question(f"rebuilt without timing cache{suffix}", trial, "ok", text)
    yield Question("one more 1x1 convolution", lambda: live.trial("slower.onnx"), "regressed", "new layer", "Conv_")
    yield Question("FP32 instead", lambda: live.trial("base.onnx", precision="fp32"), "regressed", "other precision")


def chains(live: Live) -> Iterator[Question]:
    """Yield the changes of the chain."""
    chain.save(live.folder / "added.onnx", added=True)
    chain.save(live.folder / "shown.onnx", shown=3)

    def trial(model: str, **spec: Any) -> Trial:
        return live.trial(model, batch=BATCH, tolerance=0.02, **spec)

    yield Question("an added layer", lambda: trial("added.onnx"), "regressed", "new layer", "conv_added")
    yield Question("one layer in FP32", lambda: _trial_in_fp32(live, trial), "regressed", "other precision", "conv3")
    yield Question("a fusion that an output prevents", lambda: trial("shown.onnx"), "regressed", "fusion lost", "conv3")
    yield Question(
        "optimisation level 0", lambda: trial("base.onnx", optimization_level=0), "regressed", "other tactic"
    )
    yield Question("no tactic sources", lambda: trial("base.onnx", tactic_sources=()), ANY)


def _trial_with_engine(live: Live, engine: Callable[[], ProvidedEngine]) -> Trial:
    """Return a trial of ResNet-18 with this engine, instead of the one that the trial would build."""
    trial = live.trial("base.onnx", timing_cache=False)
    trial.engine = engine()
    return trial


def _trial_in_fp32(live: Live, trial: Callable[[str], Trial]) -> Trial:
    """Return a trial of the chain with conv3 in FP32, built with TensorRT's API in a process of its own."""
    plan = live.folder / "typed.plan"
    arguments = [live.folder / "base.onnx", plan, "--batch", str(BATCH), "--fp32", "conv3", "relu3"]
    command = [sys.executable, chain.__file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    digest = hashlib.sha256(plan.read_bytes()).hexdigest()
    typed = trial("base.onnx")
    typed.engine = ProvidedEngine(plan, digest, digest)
    return typed


def answer(live: Live, question: Question, old: LayerProfile) -> Answer:
    """Measure and judge, and explain the layers whatever the verdict is."""
    started = time.perf_counter()
    try:
        trial = question.trial()
        result = live.measure(trial)
    except TrtError as error:
        wall_s = time.perf_counter() - started
        return Answer(
            live.network, question.change, question.status, "error", None, False, wall_s, None, str(error), ()
        )
    verdict = ms_verdict(result)
    ratio = verdict.ratio
    causes: tuple[str, ...] = ()
    if ratio is not None and result.measurement is not None:
        new_ms = result.measurement.figures["ms"].value
        old_ms = new_ms / ratio.value
        new = scale_to_latency(trial.profile(), new_ms)
        causes = blame(scale_to_latency(old, old_ms), new, new_ms - old_ms).lines(99)
        trial.close()
    text = failure.text(result) or "\n  ".join((verdict.text, *verdict.details, *_notes(result)))
    named = any(question.cause in line and question.layer in line for line in text.splitlines())
    return Answer(
        network=live.network,
        change=question.change,
        expected=question.status,
        status=verdict.status,
        ratio=None if ratio is None else (ratio.value, ratio.low, ratio.high),
        named=named,
        wall_s=time.perf_counter() - started,
        built_s=result.built_s,
        text=text,
        causes=causes,
    )


def _notes(result: Result) -> tuple[str, ...]:
    return result.measurement.notes if result.measurement is not None else ()


def markdown(answers: list[Answer], about: str) -> str:
    """Return a table of all answers, and the text of each."""
    lines = [about, "", "| network | changed | expected | verdict | ratio | as expected | wall s |",
             "|---|---|---|---|---|---|---:|"]  # fmt: skip
    for a in answers:
        value = "" if a.ratio is None else "{:+.2%} [{:+.2%}, {:+.2%}]".format(*(r - 1 for r in a.ratio))
        right = "yes" if a.right else "no"
        lines.append(f"| {a.network} | {a.change} | {a.expected} | {a.status} | {value} | {right} | {a.wall_s:.1f} |")
    for a in answers:
        lines += ["", f"## {a.network}: {a.change}", "", "```", a.text, "", "all causes:", *a.causes, "```"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the folder of blame.json and blame.md")
    parser.add_argument("--part", choices=("resnet18", "chain"), help="only this network (default: both)")
    parser.add_argument("--backend", default="auto", help="the backend (auto)")
    parser.add_argument("--cache-dir", help="an engine cache to keep (default: a temporary one)")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    answers: list[Answer] = []
    with tempfile.TemporaryDirectory(prefix="pytest-trt-blame-") as name:
        folder = Path(name)
        settings = Settings(backend=options.backend, cache_dir=options.cache_dir or str(folder / "cache"), rootdir=name)
        baselines = open_baselines("baselines", "blame", revision=None, rootdir=folder)

        def say(text: str) -> None:
            if "0 s" in text:
                print(text, flush=True)

        with Bench(settings, say) as bench, Bench(dataclasses.replace(settings, builds=2), say) as two_builds:
            for part in (options.part,) if options.part else ("chain", "resnet18"):
                part_folder = folder / part
                part_folder.mkdir()
                live = Live(part_folder, bench, baselines, part, transfers=part == "resnet18")
                if part == "resnet18":
                    batch, questions = 1, resnet(live, dataclasses.replace(live, bench=two_builds))
                    resnet18.save(part_folder / "base.onnx")
                else:
                    batch, questions = BATCH, chains(live)
                    chain.save(part_folder / "base.onnx")
                about = environment_line(save(live, batch).environment)
                with live.trial("base.onnx", batch=batch) as base:
                    old = base.profile()
                for question in questions:
                    answers.append(answer(live, question, old))
                    print(f"\n{part}, {question.change}: {answers[-1].text}", flush=True)
                    rows = [{**dataclasses.asdict(a), "right": a.right} for a in answers]
                    (options.results / "blame.json").write_text(json.dumps({"about": about, "answers": rows}, indent=1))
                    (options.results / "blame.md").write_text(markdown(answers, about))
    wrong = [f"{a.network}, {a.change}" for a in answers if not a.right]
    print(f"\n{len(answers)} answers, not as expected: {', '.join(wrong) or 'none'}")


if __name__ == "__main__":
    main()
