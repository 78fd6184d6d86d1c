# The front door. `make` alone prints help. Works with GNU make 3.81 (macOS) and any POSIX sh.

PROFILE  ?= sample
NB       ?=
JOBS     ?=
AT_ONCE  ?= $(if $(filter sample,$(PROFILE)),$(if $(NB),1,2),1)
DATA_DIR ?=
PYTHON   ?=
MODEL    ?=
IMAGES   ?=
ARGS     ?=
VENV     ?= .venv

# An active conda environment is used instead of .venv; its `base` is left alone.
ifneq ($(CONDA_PREFIX),)
ifneq ($(CONDA_DEFAULT_ENV),base)
VENV := $(CONDA_PREFIX)
CONDA := yes
endif
endif

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.saliency-iqa-reproduction
BOOKED := $(VENV)/.saliency-iqa-book
BUILD := build/$(PROFILE)

# What an executed notebook depends on, besides its source. Nothing is imported to find out.
NOTEBOOKS := $(sort $(wildcard notebooks/$(if $(NB),$(NB),[0-9][0-9])_*.ipynb))
EXECUTED  := $(NOTEBOOKS:notebooks/%=$(BUILD)/%)
SOURCES   := $(shell find lib -type f ! -path '*/__pycache__/*')
WEIGHTS   := $(wildcard weights/*)
INPUTS    := $(BUILD)/.inputs

ifneq ($(DATA_DIR),)
export DATA_DIR
endif
FLAGS := --profile $(PROFILE) $(if $(JOBS),--jobs $(JOBS))

# glibc hands large feature maps back to the kernel after every layer; where page faults are dear
# (virtual machines, containers) that takes most of a forward pass. Other C libraries ignore these.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 2147483647
export MALLOC_TOP_PAD_ := 67108864
# Threads that wait sleep, so that two processes do not slow each other down; those of NumPy's
# OpenBLAS can't sleep, and made notebook 01 seven times slower beside another process: there is one.
export OMP_WAIT_POLICY := PASSIVE
export OPENBLAS_NUM_THREADS := 1

# Two notebooks of `sample` at a time: while one imports or draws, the other computes. Those of the
# other profiles use every core by themselves (JOBS). Several goals are reached one by one.
ifeq ($(MAKECMDGOALS),reproduce)
MAKEFLAGS += -j$(AT_ONCE)
else
.NOTPARALLEL:
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data reproduce refresh results verify test test-all lint lab book bench chaos plan train try lock clean check-notebooks

help: ## print this
	@echo 'Usage: make TARGET [PROFILE=sample|open|paper] [NB=01] [JOBS=n] [DATA_DIR=path]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | awk -F '\t' '{ printf "  %-11s%s\n", $$1, $$2 }'
	@echo
	@echo '  PROFILE    sample, or one set of parameters, profiles/PROFILE.yaml (now: $(PROFILE))'
	@echo '  DRY_RUN    1: reproduce PROFILE=paper on tiny data and random weights, in three minutes'
	@echo '  NB         one notebook by its number; all of them without it'
	@echo '  JOBS       worker processes (default: the notebooks decide)'
	@echo '  AT_ONCE    notebooks that run at the same time (now: $(AT_ONCE); 1 shows their bars)'
	@echo '  DATA_DIR   where the data sets are (default: data/)'
	@echo '  BOOK       1: setup installs what the book and its test need, too'
	@echo '  PYTHON     the Python (3.11 or newer) that .venv is made with'
	@echo '  IMAGES     the folder of your own pictures that try judges'
	@echo '  ARGS       passed on by test, test-all, bench, chaos, try and lock'

setup: $(INSTALLED) $(if $(BOOK),$(BOOKED)) ## create .venv from the lock, or bring it up to date

data: $(INSTALLED) ## say which data PROFILE (open, paper) needs and fetch what is missing
	@$(PY) -m lib data --profile $(PROFILE)

ifdef DRY_RUN
reproduce: check-notebooks $(INSTALLED)
	@test $(PROFILE) = paper || { echo "DRY_RUN=1 is for PROFILE=paper; $(PROFILE) needs none" >&2; exit 2; }
	@$(PY) -m benchmarks.dry_run $(if $(NB),$(NOTEBOOKS))
else
reproduce: check-notebooks $(EXECUTED) ## run the notebooks that need it; tables and figures land in figures/
	@echo
	@echo "Tables and figures, $(PROFILE) profile:"
	@find "$${FIGURES_DIR:-figures}/$(PROFILE)" -type f ! -name '.*' 2>/dev/null | sort | sed 's/^/  /'
	@echo "Executed notebooks: $(BUILD)/"
endif

refresh: ## rerun `sample` and store its outputs in notebooks/, to be committed
	@$(MAKE) --no-print-directory reproduce PROFILE=sample
	@$(PY) -m lib refresh $(NOTEBOOKS)

results: $(INSTALLED) ## write RESULTS.md from the committed tables
	@$(PY) -m benchmarks.results

verify: $(INSTALLED) ## rerun PROFILE from nothing in a scratch folder; compare every table
	@$(PY) -m lib verify $(FLAGS) $(NOTEBOOKS)

test: $(INSTALLED) ## run the tests, all but the slow ones
	@$(PY) -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

test-all: $(INSTALLED) ## run all tests, as CI does
	@$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(INSTALLED) ## check style, formatting and the hygiene of the notebooks
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m pytest -q -k committed tests/test_notebooks.py

lab: $(INSTALLED) ## open JupyterLab at the first notebook
	@$(PY) -m jupyter lab --notebook-dir=. notebooks/00_start_here.ipynb

book: $(BOOKED) ## build the book, a static site, into build/book/html
	@$(PY) -m book.build

bench: $(INSTALLED) ## measure speed against peer implementations
	@$(PY) -m benchmarks.bench $(ARGS)

chaos: $(INSTALLED) ## kill runs, damage their cache, fill the disk, 50 times; compare the tables
	@$(PY) -m benchmarks.chaos $(if $(NB),--notebooks $(NB)) $(ARGS)

plan: $(INSTALLED) ## say what PROFILE costs here: disk, time, memory, from costs measured on the spot
	@$(PY) -m benchmarks.plan --profile $(PROFILE)

train: $(INSTALLED) ## train MODEL, or resume its training, and measure it for its card
	@$(PY) -m lib train $(MODEL)
	@$(PY) -m benchmarks.cards $(MODEL)

try: export IMAGES := $(IMAGES)
try: $(INSTALLED) ## judge your own pictures: make try IMAGES=~/Pictures/holiday
	@test -n "$$IMAGES" || { echo 'Which pictures? make try IMAGES=~/Pictures/holiday' >&2; exit 2; }
	@$(PY) -m lib try "$$IMAGES" $(ARGS)

lock: $(INSTALLED) ## remake requirements*.txt from requirements*.in (ARGS=--upgrade for newer versions)
	@$(PY) -m pip install -q uv
	@$(PY) -m uv pip compile -q $(ARGS) requirements.in
	@$(PY) -m uv pip compile -q $(ARGS) -c requirements.txt -o requirements-book.txt --custom-compile-command "make lock" requirements-book.in

clean: ## remove build/ and every cached result (not .venv, not data/)
	rm -rf build .cache .pytest_cache .ruff_cache *.egg-info

check-notebooks:
	@test -n "$(NOTEBOOKS)" || { echo "No notebook notebooks/$(or $(NB),NN)_*.ipynb; see: ls notebooks" >&2; exit 2; }
	@test $(PROFILE) = sample -o -f profiles/$(PROFILE).yaml || { echo "No profile profiles/$(PROFILE).yaml; see: ls profiles" >&2; exit 2; }

# -- one notebook ------------------------------------------------------------------------------

$(BUILD)/%.ipynb: notebooks/%.ipynb $(SOURCES) $(WEIGHTS) $(wildcard profiles/$(PROFILE).yaml) requirements.txt $(INPUTS) | check-notebooks $(INSTALLED)
ifeq ($(AT_ONCE),1)
	@$(PY) -m lib run $(FLAGS) $<
else     # the bars of two would overwrite each other: they go to a log
	@echo "$(<F), $(PROFILE) profile, begun; watch it with: tail -f $(@:.ipynb=.log)"
	@$(PY) -m lib run $(FLAGS) $< > $(@:.ipynb=.log) 2>&1 || { tail -n 3 $(@:.ipynb=.log) >&2; exit 1; }
	@tail -n 1 $(@:.ipynb=.log)
endif

# A file that changes when DATA_DIR, or anything in it, does. Written while make reads this file,
# so that the rule above sees its true age even under `make -n`. `sample` reads no data set.
ifneq ($(filter reproduce,$(MAKECMDGOALS)),)
DATA := $(or $(DATA_DIR),data)
DATA_STATE := $(if $(filter sample,$(PROFILE)),packaged,$(DATA) $(shell ls -lnLR '$(DATA)' 2>/dev/null | cksum))
$(shell mkdir -p $(BUILD); echo '$(DATA_STATE)' > $(INPUTS).new; \
    if cmp -s $(INPUTS).new $(INPUTS); then rm $(INPUTS).new; else mv $(INPUTS).new $(INPUTS); fi)
endif

# -- the environment ---------------------------------------------------------------------------

# grad-cam and pyiqa bring opencv-python and opencv-python-headless, which overwrite each other's
# `cv2`; the first needs libGL, which servers lack. Laying headless down last settles it.
$(INSTALLED): requirements.txt pyproject.toml
ifndef CONDA
	@set -e; if ! $(PY) -c pass 2>/dev/null; then \
	    for python in $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11); do \
	        if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "Python 3.11 or newer is needed, and $(if $(PYTHON),$(PYTHON) is not,no python3 here is). Try: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	    fi; \
	    echo "Creating $(VENV) with `$$found --version`"; \
	    "$$found" -m venv --clear $(VENV); \
	fi
endif
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PY) is older than Python 3.11; make a newer environment" >&2; exit 1; }
	@echo "Installing requirements.txt into $(VENV), 200 packages (3 GB; more with a CUDA torch). Log: $(VENV)/install.log"
	@{ $(PY) -m pip install --disable-pip-version-check --progress-bar off -r requirements.txt \
	    && $(PY) -m pip install -q --disable-pip-version-check --no-deps --force-reinstall "`grep '^opencv-python-headless==' requirements.txt`" \
	    && $(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . \
	    && echo INSTALLED; } 2>&1 | tee $(VENV)/install.log | { n=0; ok=1; while IFS= read -r line; do case $$line in \
	        Collecting*|Processing*) n=$$((n + 1)); if [ $$((n % 40)) -eq 0 ]; then echo "  $$n packages found"; fi;; \
	        *Downloading*[0-9][0-9][0-9].[0-9]*MB*) echo "  $${line#"$${line%%[! ]*}"}";; \
	        Installing\ collected*) echo "  unpacking";; \
	        ERROR*|error*) echo "$$line" >&2;; \
	        INSTALLED) ok=0;; \
	    esac; done; exit $$ok; } || { echo "Installation failed; the whole log is $(VENV)/install.log" >&2; exit 1; }
	@touch $@

$(BOOKED): requirements-book.txt | $(INSTALLED)
	@echo "Installing requirements-book.txt into $(VENV), 20 small packages"
	@$(PY) -m pip install -q --disable-pip-version-check -r requirements-book.txt
	@touch $@
