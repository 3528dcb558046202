# The two commands of the project: `make demo` and `make test`. Each makes what it needs on the first call.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := outputs/demo

.PHONY: demo test test-matrix lint clean

# Prompts in, pictures out: the full model on the left, ToCa on the right.
demo: $(VENV)/.installed
	@rm -rf $(DEMO)
	@for prompt in "a red apple" "an owl" "a rocket" "a slice of pizza"; do \
	    echo; echo "toca generate \"$$prompt\" --compare"; \
	    $(BIN)/toca generate "$$prompt" --compare --output $(DEMO) || exit 1; \
	done
	@echo; echo "Side by side, with and without ToCa:"; ls $(DEMO)/*-compare.png

test: lint
	$(BIN)/pytest

# The full tables, of which `make test` runs a choice that covers them.
test-matrix: $(VENV)/.installed-dev
	$(BIN)/pytest -m matrix

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

# The development install holds the base install, so it serves the demo as well.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev,eval]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf build dist outputs .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
