# The two commands of the project: `make demo` and `make test`. Both make what they need on the first call.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    := outputs/demo

.PHONY: demo test lint clean

# Generates several prompts with and without ToCa, side by side.
demo: $(VENV)/.installed
	@mkdir -p $(OUT)
	@for prompt in $(DEMO_PROMPTS); do \
	    $(BIN)/toca generate "$$(echo $$prompt | tr _ ' ')" --compare --output $(OUT)/$$prompt.png || exit 1; \
	done
	@echo "The pictures are in $(OUT)/: each *-compare.png shows the baseline and ToCa side by side."

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

# The development install is the base install and more, so either stamp serves the demo.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev,eval]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist outputs .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
