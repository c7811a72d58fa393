# Two commands do all the set-up: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 1
EXAMPLES ?= 2000
H200 := $(patsubst %,profiles/nvidia-h200/%.jsonl,figure-10-plain gpt2-train gpt2-inference \
	opt-inference)

# Tests start hundreds of processes: where no bytecode is kept, each compiles a hundred modules again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test lint ruff mypy unit bench light lowest hostile fuzz mutants verify figures calibration configs backbones \
	peers docs docs-site release clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip is asked twice to be quiet: an index that it passes over is no news. It compiles nothing: of
# 250 MB of Python a fifth is ever loaded, and compiled then.
PIP := -m pip install -qq --no-compile --disable-pip-version-check -c constraints.txt

$(BIN)/pip:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/torch: constraints.txt | $(BIN)/pip
	@echo "Setting up $(VENV): torch and Transformers are downloaded once." >&2
	@$(BIN)/python $(PIP) torch
	@touch $@

$(VENV)/measure: pyproject.toml constraints.txt $(VENV)/torch
	@$(BIN)/python $(PIP) -e ".[measure]"
	@touch $@

# All in one go: what measures is a part of it.
$(VENV)/installed: pyproject.toml constraints.txt $(VENV)/torch
	@$(BIN)/python $(PIP) -e ".[dev]"
	@touch $(VENV)/measure $@

demo: $(VENV)/measure  ## Set up, then one answer, one measurement on this machine, and its page
	@$(BIN)/python tests/demo.py

test:  ## Set up, then lint, type-check and test everything
	# pip takes one core: the light installation is made and tested beside the whole one (but the two
	# never build this package at once). mypy runs beside the tests; benchmarks are alone.
	$(MAKE) -j 2 $(VENV)/torch .venv-light/installed
	$(MAKE) -j 2 $(VENV)/installed light
	$(MAKE) ruff
	$(MAKE) -j 2 mypy unit
	$(MAKE) bench

lint: ruff mypy  ## Ruff and mypy

ruff: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy: $(VENV)/installed
	$(BIN)/mypy

unit: $(VENV)/installed  ## All tests but the benchmarks
	# One thread a worker: two workers are what two cores have. LANGUAGE: click looks for a
	# translation of each of its words in the file system unless it is told that there is none.
	OMP_NUM_THREADS=1 LANGUAGE=C $(BIN)/pytest -n 2 --dist worksteal --ignore tests/bench

bench: $(VENV)/installed  ## Speed limits, measured
	$(BIN)/pytest tests/bench --benchmark-columns=min,median,max,rounds

light: .venv-light/installed  ## The light installation predicts and reports without torch
	.venv-light/bin/python tests/light_install.py

.venv-light/installed: pyproject.toml constraints.txt | $(BIN)/pip
	@$(PYTHON) -m venv --without-pip .venv-light
	@$(BIN)/python -m pip --python .venv-light/bin/python install -qq --no-compile \
		--disable-pip-version-check -c constraints.txt -e .
	@touch $@

lowest: $(VENV)/installed  ## The light installation on the lowest versions that are declared
	mkdir -p build
	$(BIN)/python -m tests.lowest_versions >build/lowest.txt
	$(PYTHON) -m venv --without-pip --clear .venv-lowest
	$(BIN)/python -m pip --python .venv-lowest/bin/python install --quiet --no-compile \
		--disable-pip-version-check -c build/lowest.txt -e .
	.venv-lowest/bin/python tests/light_install.py

hostile: $(VENV)/installed  ## Every bad value in every option and file (30 minutes)
	RMTSCALE_HOSTILE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/hostile

fuzz: $(VENV)/installed  ## Configs, records and tokenizers that nobody wrote, EXAMPLES of each kind
	RMTSCALE_FUZZ=$(EXAMPLES) OMP_NUM_THREADS=1 $(BIN)/python -m tests.hostile.fuzz

mutants: $(VENV)/installed  ## 100 random changes of the closed forms: the tests must find 95
	$(BIN)/python $(PIP) -e ".[mutation]"
	$(BIN)/python -W ignore -m tests.mutants --seed $(SEED)

verify: $(VENV)/installed  ## Whole matrices, other drawn cases, every preset (long)
	RMTSCALE_THOROUGH=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q \
		$$(grep -rlE "THOROUGH|covering\(|sharded_worker|unpainted|@given" --include="test_*.py" tests)
	@for model in $$($(BIN)/rmtscale models --format csv | $(BIN)/python -c \
		"import csv, sys; print(*(row['name'] for row in csv.DictReader(sys.stdin)))"); do \
		for mode in forward train; do \
			$(BIN)/rmtscale verify --model $$model --tokens 128,256,512 --segment-size 128 \
				--mode $$mode --format csv >/dev/null && echo "pass $$model $$mode" || exit 1; \
		done; \
	done

figures: $(VENV)/installed  ## Make reports/ again from what is committed
	# 1: a claim of the paper does not hold here; the page says which and why.
	$(BIN)/rmtscale reproduce all --force || test $$? -eq 1
	$(BIN)/rmtscale report $(H200) --out reports/nvidia-h200 --force

calibration: $(VENV)/installed  ## Find the H200's constants again from its operators and links
	$(BIN)/rmtscale calibrate --operators profiles/nvidia-h200/operators.jsonl \
		--out rmtscale/costs/time/gpus/h200.json --force
	$(BIN)/rmtscale calibrate --operators profiles/nvidia-h200-x2/links.jsonl --device h200 \
		--calibration rmtscale/costs/time/gpus/h200.json \
		--out rmtscale/costs/time/gpus/h200.json --force

configs: $(VENV)/installed  ## The table of configs of RMTSCALE_CONFIGS against its TRUTH.json
	$(BIN)/rmtscale models $(RMTSCALE_CONFIGS) --truth $(RMTSCALE_CONFIGS)/TRUTH.json \
		--format csv >reports/models/configs.csv

backbones: $(VENV)/installed  ## Every backbone, tiny, in an RMT, against a slow loop (3 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.rmt.any_backbone >reports/models/rmt.csv

peers:  ## What other calculators say of the same configs; PEERS is a Python that has them
	OMP_NUM_THREADS=1 PYTHONPATH=. $(PEERS) -W ignore tests/bench/peers.py $(RMTSCALE_CONFIGS) \
		>reports/models/peers.csv

docs: $(VENV)/installed  ## Fill the pages with counts, shown output and the file map
	$(BIN)/python -m tests.generated_docs

docs-site: .venv-docs/installed  ## A web site of all pages in build/docs-site/site, links checked
	.venv-docs/bin/python -m tests.docs_site
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet -f build/docs-site/mkdocs.yml
	@echo "open build/docs-site/site/index.html"

.venv-docs/installed: pyproject.toml constraints.txt
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python $(PIP) -e ".[docs]"
	@touch $@

release: .venv-release/installed  ## Build, check and try what is released, from the last commit
	@.venv-release/bin/python -m tests.release

.venv-release/installed: pyproject.toml constraints.txt
	@$(PYTHON) -m venv .venv-release
	@.venv-release/bin/python $(PIP) "build>=1.2" "twine>=6"
	@touch $@

clean:  ## Remove what the other targets made
	rm -rf $(VENV) .venv-docs .venv-light .venv-lowest .venv-release build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
