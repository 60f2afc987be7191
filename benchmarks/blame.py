"""One change at a time on a real GPU: is it judged right, and are the right layers blamed?

    python benchmarks/blame.py FOLDER                    # some four minutes with TensorRT 8.6 on an H200
    python benchmarks/blame.py FOLDER --part chain       # that part alone

ResNet-18 FP16 at batch 1, transfers included, at a tolerance of 1 %: unchanged; rebuilt without a timing cache, alone
and two builds together; one 1x1 convolution more; FP32 instead. Then benchmarks/chain.py at batch 8 without transfers:
a layer more, one layer in FP32, a fusion broken by an output, another optimisation level, other tactic sources. Every
comparison is paired. FOLDER/blame.json and blame.md are written anew after each answer.
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
"""What is expected where the builder decides whether it costs anything; what was said is recorded."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question: what was changed, the trial of it, and what the answer should be. `cause` and `layer` are what blame
    should name, empty where nothing is to blame."""

    change: str
    trial: Callable[[], Trial]
    status: str
    cause: str = ""
    layer: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came: `text` is the failure's, or the verdict's; `causes` all that blame finds."""

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
        return self.expected in (self.status, ANY) and self.named


def resnet(live: Live, several: Live) -> Iterator[Asked]:
    resnet18.save(live.folder / "slower.onnx", more_1x1=1)
    yield Asked("nothing", lambda: live.trial("base.onnx"), "ok")
    rebuilt = functools.cache(lambda: live.trial("base.onnx", timing_cache=False).build_again())
    for one, who, said in (("", live, "build lottery"), (", judged with one more build", several, "builds differ by")):
        ask = functools.partial(_given, who, rebuilt)
        yield Asked(f"rebuilt without timing cache{one}", ask, "ok", said)
    yield Asked("one 1x1 convolution more", lambda: live.trial("slower.onnx"), "regressed", "new layer", "Conv_")
    yield Asked("FP32 instead", lambda: live.trial("base.onnx", precision="fp32"), "regressed", "other precision")


def chains(live: Live) -> Iterator[Asked]:
    chain.save(live.folder / "added.onnx", added=True)
    chain.save(live.folder / "shown.onnx", shown=3)

    def trial(model: str, **spec: Any) -> Trial:
        return live.trial(model, batch=BATCH, tolerance=0.02, **spec)

    yield Asked("a layer more", lambda: trial("added.onnx"), "regressed", "new layer", "conv_added")
    yield Asked("one layer in FP32", lambda: _typed(live, trial), "regressed", "other precision", "conv3")
    yield Asked("a fusion broken by an output", lambda: trial("shown.onnx"), "regressed", "fusion lost", "conv3")
    yield Asked("optimisation level 0", lambda: trial("base.onnx", optimization_level=0), "regressed", "other tactic")
    yield Asked("no tactic sources", lambda: trial("base.onnx", tactic_sources=()), ANY)


def _given(live: Live, engine: Callable[[], ProvidedEngine]) -> Trial:
    """A trial of ResNet-18 with an engine that was built beside it."""
    trial = live.trial("base.onnx", timing_cache=False)
    trial.engine = engine()  # in place of the one that it would build
    return trial


def _typed(live: Live, trial: Callable[[str], Trial]) -> Trial:
    """The chain with conv3 held to FP32, built through TensorRT's own API in a process of its own."""
    plan = live.folder / "typed.plan"
    arguments = [live.folder / "base.onnx", plan, "--batch", str(BATCH), "--fp32", "conv3", "relu3"]
    command = [sys.executable, chain.__file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    digest = hashlib.sha256(plan.read_bytes()).hexdigest()
    made = trial("base.onnx")
    made.engine = ProvidedEngine(plan, digest, digest)
    return made


def answer(live: Live, asked: Asked, old: LayerProfile) -> Answer:
    """Ask, and look at the layers whatever the verdict is."""
    started = time.perf_counter()
    try:
        trial = asked.trial()
        result = live.measure(trial)
    except TrtError as error:
        wall_s = time.perf_counter() - started
        return Answer(live.network, asked.change, asked.status, "error", None, False, wall_s, None, str(error), ())
    verdict = ms_verdict(result)
    ratio = verdict.ratio
    causes: tuple[str, ...] = ()
    if ratio is not None and result.measurement is not None:
        now = result.measurement.figures["ms"].value
        then = now / ratio.value
        causes = blame(scale_to_latency(old, then), scale_to_latency(trial.profile(), now), now - then).lines(99)
        trial.close()
    text = failure.text(result) or "\n  ".join((verdict.text, *verdict.details, *_notes(result)))
    blamed = any(asked.cause in line and asked.layer in line for line in text.splitlines())
    return Answer(
        network=live.network,
        change=asked.change,
        expected=asked.status,
        status=verdict.status,
        ratio=None if ratio is None else (ratio.value, ratio.low, ratio.high),
        named=blamed,
        wall_s=time.perf_counter() - started,
        built_s=result.built_s,
        text=text,
        causes=causes,
    )


def _notes(result: Result) -> tuple[str, ...]:
    return result.measurement.notes if result.measurement is not None else ()


def markdown(answers: list[Answer], about: str) -> str:
    """A table of all answers, and what was said to each."""
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
    parser.add_argument("results", type=Path)
    parser.add_argument("--part", choices=("resnet18", "chain"))
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--cache-dir", help="an engine cache that is kept")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    answers: list[Answer] = []
    with tempfile.TemporaryDirectory(prefix="pytest-trt-blame-") as name:
        folder = Path(name)
        settings = Settings(backend=given.backend, cache_dir=given.cache_dir or str(folder / "cache"), rootdir=name)
        stored = open_baselines("baselines", "blame", revision=None, rootdir=folder)

        def say(text: str) -> None:
            if "0 s" in text:
                print(text, flush=True)

        with Bench(settings, say) as bench, Bench(dataclasses.replace(settings, builds=2), say) as two_builds:
            for part in (given.part,) if given.part else ("chain", "resnet18"):
                own = folder / part
                own.mkdir()
                live = Live(own, bench, stored, part, transfers=part == "resnet18")
                if part == "resnet18":
                    batch, questions = 1, resnet(live, dataclasses.replace(live, bench=two_builds))
                    resnet18.save(own / "base.onnx")
                else:
                    batch, questions = BATCH, chains(live)
                    chain.save(own / "base.onnx")
                about = environment_line(save(live, batch).environment)
                with live.trial("base.onnx", batch=batch) as base:
                    old = base.profile()
                for asked in questions:
                    answers.append(answer(live, asked, old))
                    print(f"\n{part}, {asked.change}: {answers[-1].text}", flush=True)
                    said = [{**dataclasses.asdict(a), "right": a.right} for a in answers]
                    (given.results / "blame.json").write_text(json.dumps({"about": about, "answers": said}, indent=1))
                    (given.results / "blame.md").write_text(markdown(answers, about))
    wrong = [f"{a.network}, {a.change}" for a in answers if not a.right]
    print(f"\n{len(answers)} asked, not as expected: {', '.join(wrong) or 'none'}")


if __name__ == "__main__":
    main()
