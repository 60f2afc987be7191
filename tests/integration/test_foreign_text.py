"""Names in models: whatever they contain, no output of a run gives a command to a CI service or to a terminal."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import onnx
import pytest
from onnx import TensorProto, helper

from pytest_trt.cli.main import main

EVIL = "X\n::error::pwned \x1b[31mred\x1b[0m\u202e<b>|`##[error]q"
SHOWN = r"X\n::error::pwned \x1b[31mred\x1b[0m\u202e"
TESTS = """
    import pytest
    @pytest.mark.trt_engine("operator.onnx", dims={"N": 2})
    def test_operator(trt_runner): trt_runner.measure()
    @pytest.mark.trt_engine("names.onnx")
    def test_dimension(trt_runner): trt_runner.measure()
    @pytest.mark.trt_engine("names.onnx")
    @pytest.mark.trt_matrix(batch=[2])
    @pytest.mark.trt_accuracy(reference="random.npz")
    def test_output(trt_runner): trt_runner.measure()
    @pytest.mark.trt_engine("names.onnx")
    @pytest.mark.trt_matrix(batch=[2])
    def test_input(trt_runner): trt_runner({"a\\n::error::b\\x1b[1m": 1})
"""
REPORTS = ("--trt-report=html:out.html", "--trt-report=md:out.md", "--junitxml=out.xml")


def save_models(folder: object) -> None:
    """Save a model whose operator no backend has, and one whose every name is hostile."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    evil_x, evil_y = (helper.make_tensor_value_info(n + EVIL, TensorProto.FLOAT, ["N" + EVIL, 4]) for n in "xy")
    nodes = [helper.make_node("Relu", ["x" + EVIL], ["y" + EVIL], name=EVIL)]
    for name, graph in (
        ("operator", helper.make_graph([helper.make_node(EVIL, ["x"], ["y"], name=EVIL)], EVIL, [x], [y])),
        ("names", helper.make_graph(nodes, EVIL, [evil_x], [evil_y])),
    ):
        model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
        onnx.save(model, f"{folder}/{name}.onnx")


def assert_harmless(text: str) -> None:
    assert not [line for line in re.split(r"[\r\n]", text) if line.lstrip().startswith("::") or "##[" in line]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


@pytest.mark.parametrize("more", [(), ("-n", "1"), ("--trt-build-only",)])
def test_no_name_in_a_model_is_interpreted(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    save_models(project.path)
    (project.path / "random.npz").write_bytes(b"")
    project.makepyfile(test_m=TESTS)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    result = project.runpytest_subprocess("-vv", "-rA", *more, *REPORTS)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert SHOWN in result.stdout.str()
    files = ("out.html", "out.md", "out.xml", "summary.md")
    for text in (result.stdout.str(), result.stderr.str(), *((project.path / name).read_text() for name in files)):
        assert_harmless(text)
    ET.parse(project.path / "out.xml")
    assert "<b>" not in (project.path / "out.html").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["bisect", "operator.onnx"], ["bisect", "names.onnx"], ["ab", "operator.onnx"], ["compare", EVIL, "x"],
        ["backends", "names.onnx", "--batch=2", "--backends=onnxruntime", "--precisions=int8", "--format=md"],
        ["history", f"a{EVIL}"], ["baseline", "rename", EVIL, "b"], ["cache", "list", f"--cache-dir={EVIL}"],
    ],
)  # fmt: skip
def test_no_command_shows_a_name_that_is_interpreted(
    project: pytest.Pytester, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    save_models(project.path)
    main(arguments)
    assert_harmless("".join(capsys.readouterr()))


def test_an_argument_that_argparse_refuses_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cache", "list", EVIL, "--to=sftp://u:secret@host/x"])
    shown = "".join(capsys.readouterr())
    assert_harmless(shown)
    assert SHOWN in shown
    assert "secret" not in shown
