"""Networks of torchvision with seeded random weights, as PyTorch modules and as ONNX models.

    python benchmarks/torchvision_models.py FOLDER

exports each network to FOLDER/NAME.onnx: input [N, 3, 224, 224] float32 -> logits [N, 1000]. `pytest-trt backends
FOLDER/resnet50.onnx --torch torchvision_models:resnet50` then compares the backends with PyTorch on the same weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torchvision

NAMES = ("resnet18", "resnet50")


def _make(name: str) -> Any:
    """Return the module. Its logits are of order 1, as those of a trained network are."""
    torch.manual_seed(0)
    module = getattr(torchvision.models, name)(weights=None).eval()
    with torch.no_grad():
        example = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        module.train()
        for _ in range(20):  # running means and variances, without which activations grow from block to block
            module(example)
        module.eval()
    return module


def resnet18() -> Any:
    """Return ResNet-18."""
    return _make("resnet18")


def resnet50() -> Any:
    """Return ResNet-50."""
    return _make("resnet50")


def main(folder: Path) -> None:
    """Export all networks to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        example = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        torch.onnx.export(
            globals()[name](),
            (example,),
            str(folder / f"{name}.onnx"),
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
            opset_version=17,
            dynamo=False,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
