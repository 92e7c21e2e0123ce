# Everything is set up by the first target that needs it, into .venv, and nowhere else.
#   make tier0     train, register, serve and verify a real model; the report's path is printed at the end
#   make test      lint, types, layers, and every test that belongs in 15 minutes on two cores
#   make test-all  the same, and what takes longer: other Pythons, the locked environment
#   make defects   put every defect of our list into a deployment, and say which check catches it; writes docs/defects.md and docs/clients.md
#   make torture   kills at any moment, full disks, eight runs at once, load with faults, wrong requests: half an hour
#   make docs      the reference in docs/, written anew from the code
#   make bench     the benchmarks, each beside its peer
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?=
REPORT := reports/tier0.html
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest
# Two processes: what is waited for in one, such as a server's start, is time for the other.
BY_TWO := -n 2 --dist loadfile

.PHONY: help tier0 test test-all lint defects torture docs bench clean

help:
	@sed -n '2,8s/^# //p' Makefile

$(READY): pyproject.toml requirements-test.txt
	@python=; for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then echo "tier0 needs Python 3.11 or newer, and found none; name one: make tier0 PYTHON=/path/to/python3.12" >&2; exit 2; fi; \
	echo "setting up .venv with $$($$python --version) (once; two to five minutes)"; \
	if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --seed --clear --python "$$python" .venv && uv pip install --quiet --python .venv -r requirements-test.txt -e '.[all]'; \
	else \
		$$python -m venv --clear .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt -e '.[all]'; \
	fi
	@touch $(READY)

tier0: $(READY)
	@mkdir -p $(dir $(REPORT))
	@$(PYTEST) -p no:hypothesispytest -m "tier0_bentoml and not slow and not torture" tests/e2e --html=$(REPORT) --self-contained-html $(ARGS); status=$$?; echo "report: $(CURDIR)/$(REPORT)"; exit $$status

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(PYTEST) $(BY_TWO) -m "not alone and not slow and not torture" $(ARGS)
	$(PYTEST) -m "alone and not slow and not torture" $(ARGS)

test-all: lint
	$(PYTEST) $(BY_TWO) -m "not alone and not torture" $(ARGS)
	$(PYTEST) -m "alone and not torture" $(ARGS)

# Others are asked, too, and their clients leave warnings behind.
# One of them has a pytest plugin of its own, which would be imported in every run of ours: it gets an environment of its own.
PEER := .venv/peers/bin/schemathesis
$(PEER): $(READY)
	@$(BIN)/python -m venv .venv/peers && .venv/peers/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5

torture: $(READY) $(PEER)
	TIER0_KILLS=$${TIER0_KILLS:-100} TIER0_SCHEMATHESIS=$(CURDIR)/$(PEER) $(PYTEST) tests/plugin/test_torture.py tests/e2e/test_long_ones.py -o timeout=0 $(ARGS)

defects: $(READY) $(PEER)
	TIER0_DEFECTS_PAGE=docs/defects.md TIER0_CLIENTS_PAGE=docs/clients.md TIER0_SCHEMATHESIS=$(CURDIR)/$(PEER) $(PYTEST) tests/defects -W default $(ARGS)

docs: $(READY)
	@$(BIN)/python docs/reference.py

bench: $(READY)
	@for script in benchmarks/main_job.py benchmarks/deselected.py benchmarks/stop.py benchmarks/client.py benchmarks/faults.py benchmarks/services.py benchmarks/serving.py benchmarks/pipeline.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv reports build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
