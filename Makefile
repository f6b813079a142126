# `make demo` and `make test` set themselves up: they need Python 3.11 to 3.13, git and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo examples live audit test test-long campaign soak server-cycles lint types bench docs clean format setup

# Modules are compiled when they are first used: compiling all of them takes half of the set-up.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --upgrade pip

# The environment is made again when what it is made from changes.
$(VENV)/.ready: pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable .
	touch $@

# With what only tests and checks need, among it the optional engine ASTRA.
$(VENV)/.ready-for-tests: pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[test,dev,astra]'
	touch $(VENV)/.ready $@

setup: $(VENV)/.ready-for-tests  ## make the environment

demo: $(VENV)/.ready  ## screen a simulated NMC622 powder; ends with the path of a report
	$(BIN)/zoneplate screen --sample nmc622 --regions 1 --seed 0 --data demo/data --out demo/out

$(VENV)/.ready-for-live: $(VENV)/.ready
	$(PIP_INSTALL) --editable '.[live]'
	touch $@

live: $(VENV)/.ready-for-live  ## the same, watched in a browser: prints the address
	$(BIN)/zoneplate screen --live --speed 10 --sample nmc622 --regions 2 --seed 0 --data demo/data --out demo/out

test: $(VENV)/.ready-for-tests  ## the tests, but for those that take long
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long"

test-long: $(VENV)/.ready-for-tests  ## whole jobs as their users run them, one after the other (10 min)
	$(BIN)/python -m pytest -m long

audit: $(VENV)/.ready-for-tests  ## known holes in what we depend on; needs the advisory service
	$(PIP_INSTALL) pip-audit
	$(BIN)/pip-audit --skip-editable --progress-spinner off

campaign: $(VENV)/.ready-for-tests  ## every fault in every plan, on both faces (5 min)
	ZONEPLATE_CAMPAIGN=whole $(BIN)/python -m pytest -q tests/campaign/test_campaign.py

soak: $(VENV)/.ready-for-tests  ## 200 lots with faults, killed analyses and viewers that come and go (half an hour)
	$(BIN)/python benchmarks/soak.py --lots 200

server-cycles: $(VENV)/.ready-for-tests  ## start and stop the EPICS server 20 times
	ZONEPLATE_SERVER_CYCLES=20 $(BIN)/python -m pytest -q tests/simulators/test_ioc_process.py -k starting_and_stopping

lint: $(VENV)/.ready-for-tests  ## style and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.ready-for-tests  ## types, on the package as it is installed
	rm -rf typecheck build/lib build/bdist.*  # not the example reports
	$(PIP_INSTALL) --no-deps --target typecheck .
	$(BIN)/pyright

format: $(VENV)/.ready-for-tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The soak has its own target.
BENCHMARKS := $(filter-out benchmarks/soak.py benchmarks/viewer.py, $(wildcard benchmarks/*.py))

bench: $(VENV)/.ready-for-tests  ## ratios to the peers, in one run
	for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

docs: $(VENV)/.ready-for-tests  ## check that the examples in the documentation run
	$(BIN)/python -m pytest -q tests/test_documentation.py

# A good powder, a dense one, and a lot with cracks and hollow shells.
examples: $(VENV)/.ready  ## three example reports, in build/examples (4 min)
	for pair in nmc622:lot nmc811:lot_nmc811 nmc622-bad:lot; do \
	  $(BIN)/zoneplate screen --sample $${pair%%:*} --seed 0 --lot examples/$${pair##*:}.toml \
	    --data build/examples/data --out build/examples/$${pair%%:*} || exit 1; \
	done

clean:
	rm -rf $(VENV) demo build typecheck *.egg-info .pytest_cache .ruff_cache
