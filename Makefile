# The two commands of a newcomer are `make quickstart` and `make test`. Whichever runs first makes the environment in
# .venv; later runs complete it if pyproject.toml has changed. Nothing outside this folder is touched but pip's cache.
#
# pip takes torch from the index that it is set up for. PyPI's Linux build brings CUDA along (gigabytes); for the small
# CPU build say  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make quickstart
# Another Python than the first that fits:  make test PYTHON=python3.12

PYTHON :=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
JOBS := 2
# The reference outputs were made with this RDKit; the package itself accepts newer ones.
PINNED := torch==2.13.0 rdkit==2026.3.6

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib

.PHONY: help quickstart test test-long check clean

help:
	@echo "make quickstart   installs, fine-tunes on an embedded set and writes an HTML report (minutes)"
	@echo "make test         installs, checks style, types and layers, runs all tests but those of minutes"
	@echo "make test-long    the tests that take minutes each"
	@echo "make check        the checks of style, types and layers alone"
	@echo "make clean        removes the environment and all caches"

quickstart: $(READY)
	@$(BIN)/mesomer quickstart

# Tests write to a folder of their own, which goes with them; threads would fight over the cores of the $(JOBS) workers.
test: check
	@box=$$(mktemp -d) && trap 'rm -rf "$$box"' EXIT && \
	TMPDIR="$$box" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" -n $(JOBS) --basetemp="$$box/pytest"

test-long: $(READY)
	@box=$$(mktemp -d) && trap 'rm -rf "$$box"' EXIT && \
	TMPDIR="$$box" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -n $(JOBS) --basetemp="$$box/pytest"

check: $(READY)
	@$(BIN)/ruff check --quiet src tests
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > $(VENV)/layers.log || { cat $(VENV)/layers.log; exit 1; }

$(READY): pyproject.toml
	@python="$(PYTHON)"; \
	for name in $$python python3.13 python3.12 python3.11 python3.14 python3 python; do \
	  if $$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python=$$name; break; \
	  fi; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Mesomer needs Python 3.11 or newer with its venv module, and none was found." >&2; \
	  echo "Install it (Debian, Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 2; \
	fi; \
	if ! $(BIN)/python -c 'import pip' >/dev/null 2>&1; then \
	  echo "Making the environment $(VENV) with $$($$python --version)" && $$python -m venv --clear $(VENV); \
	fi && \
	echo "Installing Mesomer and what it needs into $(VENV) (minutes, once)" && \
	$(BIN)/python -m pip install --quiet $(PINNED) -e '.[test]'
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
