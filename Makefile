# On a fresh machine with Python >= 3.11: `make demo`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without setuptools' page of warnings about editable installs.
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet
WORKDIR ?= runs/digits
# Tests run in as many processes as there are cores, two at most: more only
# compile the same functions again.
TEST_PROCESSES ?= 2
# Small programs compile longer than they run, so XLA does not optimise machine code, and takes its
# older way of making it, which compiles half as long then. The slow tests run what users run.
TEST_XLA_FLAGS ?= --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false
# Ships the pictures of frost. Only they are used, so its own dependencies stay out.
FROST := "imagecorruptions-imaug>=1.1.5,<2"

.PHONY: demo test test-slow lint format bench docs clean

demo: $(VENV)/runtime
	$(BIN)/python -m augmax_jax.main --config=configs/digits.py --workdir=$(WORKDIR)

test: $(VENV)/dev
	@known=; for flag in $(TEST_XLA_FLAGS); do \
		if XLA_FLAGS="$$flag" $(BIN)/python -c "import jax; jax.devices()" 2> /dev/null; \
		then known="$$known $$flag"; \
		else echo "this XLA does not know $$flag: the tests go without"; fi; \
	done; \
	XLA_FLAGS="$$known" $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal \
		-m "not slow" $(ARGS)

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site of README.md and docs/, in build/site; a warning is an error.
docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Ratios against PyTorch and the published Python implementations; best on a quiet machine.
bench: $(VENV)/dev
	$(INSTALL) -r requirements-torch.txt
	$(BIN)/python -m benchmarks.augment
	$(BIN)/python -m benchmarks.corruptions
	$(BIN)/python -m benchmarks.methods
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.compaction
	$(BIN)/python -m benchmarks.bound
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.first_step
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.plan
	$(BIN)/python -m benchmarks.input

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip

$(VENV)/runtime: requirements.txt pyproject.toml setup.py | $(VENV)/bin/python
	$(INSTALL) -r requirements.txt
	$(INSTALL) --no-deps $(FROST)
	touch $@

$(VENV)/dev: requirements.txt requirements-dev.txt pyproject.toml setup.py | $(VENV)/bin/python
	$(INSTALL) -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .cache runs build *.egg-info
