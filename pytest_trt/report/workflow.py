"""Write the workflow of GitHub Actions that checks pull requests and saves the baseline of main.

The template is the workflow of the example project. An installed package contains a copy of it, which the build makes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

_INSTALLED = Path(__file__).with_name("performance.yml")
_IN_REPOSITORY = Path(__file__).parents[2] / "example_project/.github/workflows/performance.yml"
_PLAIN_FOLDER = re.compile(r"(?!-|/)[A-Za-z0-9._/-]+")
"""A folder that needs no quoting in YAML or a shell."""


def render(device: str | None, baseline_dir: str) -> tuple[str, tuple[str, ...]]:
    """Return the workflow, and a sentence about each part that the user must still change.

    Args:
        device: The name of the GPU that the tests are for; None to leave that of the example.
        baseline_dir: The folder of the baselines, as the settings name it.
    """
    template = _INSTALLED if _INSTALLED.is_file() else _IN_REPOSITORY
    text, notes = template.read_text(encoding="utf-8"), []
    if device is None:
        notes.append("it names the GPU of the example project: set DEVICE and the labels of the runners to yours")
    else:
        label = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-").removeprefix("nvidia-") or "gpu"
        text = text.replace("DEVICE: H200 ", f"DEVICE: {json.dumps(device)} ").replace(" h200-", f" {label}-")
        text = text.replace("`h200-main`", f"`{label}-main`")
        notes.append(f"its runners have the labels {label}-main and {label}-pull-request")
    if _PLAIN_FOLDER.fullmatch(baseline_dir) and ".." not in baseline_dir.split("/"):
        text = re.sub(r"(path: |git add )baselines\b", rf"\g<1>{baseline_dir}", text)
    else:
        notes.append(f"the baselines are in {baseline_dir}: it commits a folder `baselines` instead")
    return text, tuple(notes)
