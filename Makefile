# The two commands of the project: `make demo` and `make test`. Each makes what it needs on the first call.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := outputs/demo
TYPED  := build/typed
# `make demo TORCH=cpu` installs the torch that brings no CUDA; uv knows where each kind of torch is.
TORCH  ?=
PIP    := $(if $(TORCH),$(BIN)/uv pip install --python $(BIN)/python --torch-backend $(TORCH),$(BIN)/python -m pip install)
TOOL   := $(if $(TORCH),$(BIN)/uv,$(BIN)/python)
# Said before pip starts, which is at it for minutes.
TAKES  := 3 GB to download on Linux, where torch brings CUDA (TORCH=cpu: 300 MB), and 300 MB elsewhere; two minutes or more

# Every test runs on one core, so two at a time take half as long.
CORES  := --numprocesses 2 --dist worksteal

.PHONY: demo test test-matrix families docs test-oldest test-newest lint clean

# Prompts in, pictures out: the full model on the left, a plan that was tuned to twice its speed on the right.
demo: $(VENV)/.installed
	@rm -rf $(DEMO)
	@echo "Four pictures of the embedded model emoji, each made twice: by the full model, and twice as fast with a cache."
	@for prompt in "a red apple" "an owl" "a rocket" "a slice of pizza"; do \
	    echo; echo "toca generate \"$$prompt\" --speedup 2 --compare"; \
	    $(BIN)/toca generate "$$prompt" --speedup 2 --compare --output $(DEMO) || exit 1; \
	done
	@echo; echo "Side by side, without a cache and with it:"; ls $(DEMO)/*-compare.png

test: lint
	$(BIN)/pytest $(CORES)

# The full tables, of which `make test` runs a choice that covers them.
test-matrix: $(VENV)/.installed-dev
	$(BIN)/pytest $(CORES) -m matrix

# Every model of the zoo with every method, and docs/families.md with what was seen: half an hour on two cores.
families: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.zoo.table --jobs 2

# The documentation as a site, in build/site, to be read without a network: a minute or two, most of it drawing plans.
# A warning is an error. mkdocs does not come with the development install, so `make test` leaves it alone.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The lowest and the newest releases that pyproject.toml allows, in environments of their own; see pipelines/tested.
test-oldest test-newest: test-%: .venv-%/.installed
	.venv-$*/bin/pytest $(CORES)

# mypy sees the packages as they are installed: pipelines/ and eval/ inside of toca.
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	@rm -rf $(TYPED) && mkdir -p $(TYPED)/toca
	@ln -s $(CURDIR)/toca/* $(CURDIR)/pipelines $(CURDIR)/eval $(TYPED)/toca
	cd $(TYPED) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml toca $(CURDIR)/tests/typing_of_public_api.py

# The development install holds the base install, so it serves the demo as well.
$(VENV)/.installed: pyproject.toml | $(TOOL)
	@echo "Installing toca and what it needs ($(TAKES)):"
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(TOOL)
	@echo "Installing toca, what it needs, and what its tests need ($(TAKES)):"
	$(PIP) --editable ".[dev,eval]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(TOOL)
	$(PIP) --editable ".[docs,eval]"
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	    echo "toca needs Python 3.10 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1 || true):" \
	        "name one that is, as in  make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# uv takes no cap from pip, finds or fetches a Python, and links what two environments share.
EXTRAS-oldest := dev,eval
EXTRAS-newest := dev,eval,peers
.PRECIOUS: .venv-%/.installed
.venv-%/.installed: pipelines/tested/%.txt pyproject.toml | $(BIN)/uv
	@echo "Installing the $* releases (about 3 GB to download, 6 GB on the disk):"
	version=$$(sed -n 's/^# python==//p' $<); \
	for python in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python $$version; do \
	    "$$python" -c "" 2>/dev/null && break; \
	done; \
	$(BIN)/uv venv --clear --seed --python "$$python" .venv-$*
	$(BIN)/uv pip install --python .venv-$*/bin/python --constraints $< --editable ".[$(EXTRAS-$*)]"
	@touch $@

$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip install --quiet uv

clean:
	rm -rf build dist outputs .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path "./.venv*/*" -prune -exec rm -rf {} +
