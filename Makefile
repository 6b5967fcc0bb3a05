# Two commands do everything: `make demo [IMAGE=my.jpg]` and `make test`. `make docs` builds the documentation in site/.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests, of one thread each.
JOBS ?= 2

.PHONY: demo test lint docs clean

# The stamp is newer than what it was made from: a second run sets nothing up.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

demo: $(VENV)/ready
	$(BIN)/python -m sdf_format.cli.demo --out demo --force $(if $(IMAGE),--image "$(IMAGE)")

test: $(VENV)/ready
	$(BIN)/python -m pytest -q --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Nothing is fetched, and a link that leads nowhere is an error (mkdocs.yml).
docs: $(VENV)/ready
	$(BIN)/python -m mkdocs build --clean

clean:
	rm -rf $(VENV) demo build site *.egg-info
