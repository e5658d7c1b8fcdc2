# `make demo` needs nothing but Python. Every change must pass `make test-all`.
PYTHON ?= python3
DEMO := .venv-demo/bin
DOCS := .venv-docs/bin
BIN := .venv/bin
PIP := pip install --quiet --disable-pip-version-check
# The version of PYTHON; it names the files that mark a complete environment.
PRINT_VERSION := -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
VERSION := $(shell $(PYTHON) $(PRINT_VERSION))
# As an environment variable, the pins also reach the build environment.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: help python demo test test-all check format docs demo-bundle base-bundle clean

help:
	@echo "make demo         segment two synthetic heads, in an environment without torch"
	@echo "make test         lint, types, import contracts and nearly all tests"
	@echo "make test-all     all of them, with the long ones and those of tools for developers"
	@echo "make check        lint, types and import contracts only"
	@echo "make format       format the code"
	@echo "make docs         build this documentation as a site, in site/"
	@echo "make demo-bundle  train, export and measure the demo bundle again (about 40 minutes)"
	@echo "make base-bundle  train and export the model base again, from data that you name (hours)"
	@echo "make clean        remove what the other targets made"

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or later is needed; $(PYTHON) is $(or $(VERSION),missing)."; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }

# Another Python than before: the environment is made again.
.venv-demo/.done-$(VERSION): pyproject.toml constraints.txt | python
	@test "$$($(DEMO)/python $(PRINT_VERSION))" = "$(VERSION)" || rm -rf .venv-demo
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/$(PIP) --editable '.[cpu]'
	@touch $@

.venv/.done-$(VERSION): pyproject.toml constraints.txt | python
	@test "$$($(BIN)/python $(PRINT_VERSION))" = "$(VERSION)" || rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/$(PIP) --editable '.[cpu,openvino,rtx,export,itk,dicom,ray,slurm,s3,docs,dev]'
	@touch $@

demo: .venv-demo/.done-$(VERSION)
	rm -rf demo
	mkdir demo
	cp -r examples demo/scans
	$(DEMO)/wmh-phantom demo/scans --subjects 1 --seed 7
	$(DEMO)/wmh-infer demo/scans demo/results --regions
	@echo
	@echo "report    demo/results/report.html"
	@echo "table     demo/results/volumes.csv"
	@echo "masks     demo/results/*_mask.nii.gz"
	@echo
	@echo "For your own folder of FLAIR scans:"
	@echo
	@echo "    . $(DEMO)/activate"
	@echo "    wmh-infer FOLDER results"

check: .venv/.done-$(VERSION)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
	--no-loadscope-reorder

test: check
	$(PYTEST) -m "not exhaustive"

test-all: check
	$(PYTEST)

format: .venv/.done-$(VERSION)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv-docs/.done-$(VERSION): pyproject.toml constraints.txt | python
	@test "$$($(DOCS)/python $(PRINT_VERSION))" = "$(VERSION)" || rm -rf .venv-docs
	$(PYTHON) -m venv .venv-docs
	$(DOCS)/$(PIP) --editable '.[docs]'
	@touch $@

# As the test of the site builds it; building it needs no internet.
docs: .venv-docs/.done-$(VERSION)
	rm -rf site
	$(DOCS)/sphinx-build --quiet --fail-on-warning --keep-going -c docs . site
	@echo "Open site/index.html"

DEMO_BUNDLE := runtime/wmh_runtime/bundles/demo
DEMO_RESULTS := benchmarks/results/epyc-2-cores/accuracy-demo.json
DEMO_WARNING := "Demo model, trained on made-up heads: on scans of patients its masks mean nothing"
demo-bundle: .venv/.done-$(VERSION)
	rm -rf runs/demo
	$(BIN)/wmh-phantom runs/demo/phantoms --subjects 200 --seed 1 --loads-ml 0.5 60
	$(BIN)/wmh-train fit tiny --data runs/demo/phantoms --out runs/demo/checkpoint
	$(BIN)/wmh-train calibrate runs/demo/checkpoint --data runs/demo/phantoms
	$(BIN)/wmh-export build runs/demo/checkpoint --out runs/demo/bundle \
		--name demo --license Apache-2.0 --warning $(DEMO_WARNING)
	rm -rf $(DEMO_BUNDLE)
	mv runs/demo/bundle $(DEMO_BUNDLE)
	$(BIN)/wmh-bench accuracy demo --card --results $(DEMO_RESULTS)

# The data are not part of this project: see docs/training.md. REAL is a table of annotated scans to
# learn from, HELD_OUT a folder of others to measure the accuracy on.
BASE_BUNDLE := runtime/wmh_runtime/bundles/base
LABEL_MAPS ?= data/label-maps
LESION_MASKS ?= data/lesion-masks
REAL ?= data/real.csv
HELD_OUT ?= data/held-out
BASE_SOURCES := \
	--attribution "Label maps of SynthSeg (Billot et al. 2023), Apache-2.0: the anatomy of the synthetic heads" \
	--attribution "27 lesion masks of Lesjak et al. 2017, doi 10.1007/s12021-017-9348-7, CC BY: shapes of lesions in the synthetic heads" \
	--attribution "MS3SEG, nine clinical scans with masks of lesions and ventricles: Bashiri Bawil, Shamsi, Shakeri Bavil, Population-Specific Lesion Patterns in Multiple Sclerosis, 2026, CC BY 4.0"
base-bundle: .venv/.done-$(VERSION)
	$(BIN)/wmh-train synthesise $(LABEL_MAPS) runs/base/heads-1 \
		--lesion-masks $(LESION_MASKS) --heads 350 --seed 1 --recipe base-synthetic
	$(BIN)/wmh-train synthesise $(LABEL_MAPS) runs/base/heads-2 \
		--lesion-masks $(LESION_MASKS) --heads 540 --seed 2 --recipe base
	$(BIN)/wmh-train fit base-synthetic --data runs/base/heads-1 --out runs/base/synthetic
	$(BIN)/wmh-train fit base --from runs/base/synthetic \
		--data runs/base/heads-2 --data $(REAL) --out runs/base/checkpoint
	$(BIN)/wmh-train calibrate runs/base/checkpoint --data runs/base/heads-2 --data $(REAL)
	rm -rf runs/base/bundle
	$(BIN)/wmh-export build runs/base/checkpoint --out runs/base/bundle \
		--name base --license "CC BY 4.0" --notes docs/base.md --with-checkpoint $(BASE_SOURCES)
	rm -rf $(BASE_BUNDLE)
	mv runs/base/bundle $(BASE_BUNDLE)
	$(BIN)/wmh-bench accuracy base $(HELD_OUT) --card

clean:
	rm -rf .venv .venv-demo .venv-docs demo site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
