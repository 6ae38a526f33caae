# Commands for people; .ci/run uses the same. Everything is installed into .venv, tests/clients/node_modules and
# tests/clients/java/target.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CLIENTS := tests/clients
PAGE    := server/web/page
LOCK   := requirements-dev.txt

# More than the processors, because tests mostly wait. A file's tests run in one process with its database and brokers.
TEST_PROCESSES ?= 6

# Stamps: make installs again only after a change of the files that say what is installed.
INSTALLED     := $(VENV)/installed
INSTALLED_NPM := $(CLIENTS)/node_modules/.package-lock.json
INSTALLED_JAVA := $(CLIENTS)/java/target/installed
BUILT_PAGE     := $(PAGE)/dist/sources.sha256
PAGE_TOOLS     := $(PAGE)/node_modules/.tools-installed

PAGE_SOURCES := $(PAGE)/package.json $(PAGE)/package-lock.json $(PAGE)/build.mjs $(shell find $(PAGE)/src -type f)

PIP := .ci/quietly $(BIN)/python -m pip install --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test soak cluster check lint types lint-page tools fuzz format page lock docs engines bench bench-peers screenshots clean debian object-store

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

run: $(INSTALLED) $(BUILT_PAGE) ## Serve on http://127.0.0.1:8000 with everything in ./var; ARGS="--port 9000" for other options
	@exec $(BIN)/videodock serve --data-dir var $(ARGS)

test: debian object-store $(INSTALLED) $(BUILT_PAGE) $(INSTALLED_NPM) $(INSTALLED_JAVA) ## Install what the tests need and run them all; ARGS="-k tus" for some
	@$(BIN)/python -m tests $(TEST_PROCESSES) $(ARGS)

soak: debian object-store $(INSTALLED) $(BUILT_PAGE) $(INSTALLED_NPM) $(INSTALLED_JAVA) ## What `make test` draws samples of, in full, and kills at every point; ARGS=tests/soak for half an hour of mixed load; SOAK_ROUNDS=25, SOAK_MINUTES=3 for less
	SOAK_ROUNDS=$(SOAK_ROUNDS) $(BIN)/python -m pytest -m "soak or drawn" $(ARGS)

CLUSTER_ROUNDS ?= 20
cluster: debian object-store $(INSTALLED) $(BUILT_PAGE) ## Two hosts under load that are killed, stopped and cut off, in many rounds; CLUSTER_ROUNDS=3 for less
	CLUSTER_ROUNDS=$(CLUSTER_ROUNDS) $(BIN)/python -m pytest tests/cluster $(ARGS)

check: lint types lint-page ## Lint, format, types and the direction of imports

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/mypy

lint-page: $(PAGE_TOOLS)
	cd $(PAGE) && npm run --silent check

tools: debian object-store $(INSTALLED) $(PAGE_TOOLS) $(BUILT_PAGE) $(INSTALLED_NPM) $(INSTALLED_JAVA) ## Install what the checks and the tests need; with --jobs 4, side by side

fuzz: $(INSTALLED) ## Fuzz the parsers for a minute; ARGS="-max_total_time=600" for ten
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) --group fuzz
	$(BIN)/python -m tests.fuzz.fuzz_headers -max_total_time=60 $(ARGS)

format: $(INSTALLED) $(PAGE_TOOLS) ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cd $(PAGE) && npm run --silent format

page: $(INSTALLED) $(PAGE_TOOLS) ## Serve the page from its sources before a running server, built again after each change; VIDEODOCK_URL=... for another server
	@cd $(PAGE) && npm run --silent dev

lock: $(INSTALLED) ## Write requirements-dev.txt anew after a change in pyproject.toml; ARGS="--upgrade" for the newest versions
	@$(PIP) --group lock
	$(BIN)/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' --extra postgres --extra crc32c --extra s3 --group dev \
		--output-file $(LOCK) $(ARGS) pyproject.toml >/dev/null

docs: $(INSTALLED) ## Generate the pages that come from the code
	$(BIN)/videodock settings --markdown >docs/settings.md
	$(BIN)/videodock tables >docs/database.md
	$(BIN)/videodock errors >docs/errors.md
	$(BIN)/videodock doctor --markdown >docs/doctor.md
	$(BIN)/python docs/deploy/grafana_board.py >docs/deploy/grafana.json

engines: debian $(INSTALLED) $(BUILT_PAGE) $(INSTALLED_NPM) ## Run the conformance cases on all engines and write docs/engines.md
	$(BIN)/python -m tests.conformance.engines

screenshots: debian $(INSTALLED) $(BUILT_PAGE) $(INSTALLED_NPM) ## Photograph every state of the page into tests/screenshots/made; ARGS="--only player --width 390" for some; ARGS=--docs for those of the documents
	$(BIN)/python -m tests.screenshots $(ARGS)

bench: $(INSTALLED) $(BUILT_PAGE) ## Compare with other upload servers and write docs/performance.md; ARGS="--quick" for a look
	$(BIN)/python -m bench $(ARGS)

bench-peers: $(INSTALLED) ## Install the other upload servers, for the comparison only
	@$(PIP) --group bench
	bench/install_peers $(CURDIR)/$(BIN)/python

clean: ## Remove everything built and installed; ./var with the uploads stays
	rm -rf $(VENV) $(PAGE)/dist $(PAGE)/node_modules $(CLIENTS)/node_modules $(CLIENTS)/java/target bench/.peers bench/node/node_modules dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find server migrations tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

debian:
	@.ci/debian @.ci/debian-packages.txt

object-store:
	@.ci/versitygw

# On a new Debian `python -m venv` lacks ensurepip, which is in a package of its own.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Videodock needs Python 3.11 or later")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/debian python3-venv
	@echo "Making $(VENV)"
	@.ci/quietly $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The lock file has pip and the build tool too, so pip checks the hash of everything that it downloads.
$(INSTALLED): pyproject.toml $(LOCK) | $(BIN)/python
	@echo "Installing Videodock and the tools for its development into $(VENV)"
	@$(PIP) --require-hashes --requirement $(LOCK)
	@$(BIN)/python hatch_build.py --has-node || $(PIP) --group node
	@echo "Building the page"
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# The installation of the package builds the page for the first time.
$(BUILT_PAGE): $(PAGE_SOURCES) | $(INSTALLED)
	@$(BIN)/python hatch_build.py
	@touch $@

# After the page is built, which installs npm packages in the same folder.
$(PAGE_TOOLS): $(PAGE)/package.json $(PAGE)/package-lock.json | $(BUILT_PAGE)
	@command -v npm >/dev/null || { echo "Node 20 with npm is needed to check the page" >&2; exit 1; }
	@echo "Installing the npm packages of $(PAGE)"
	@cd $(PAGE) && ../../../.ci/quietly npm ci --no-audit --no-fund
	@touch $@

$(INSTALLED_NPM): $(CLIENTS)/package.json $(CLIENTS)/package-lock.json
	@command -v npm >/dev/null || { echo "Node 20 with npm is needed for the tests: the clients run on it" >&2; exit 1; }
	@echo "Installing the npm packages of $(CLIENTS)"
	@cd $(CLIENTS) && ../../.ci/quietly npm ci --no-audit --no-fund
	@touch $@

# `debian` comes first: on a new machine it installs Maven.
$(INSTALLED_JAVA): $(CLIENTS)/java/pom.xml $(CLIENTS)/java/src/main/java/Upload.java | debian
	@echo "Building the Java client of $(CLIENTS)"
	@cd $(CLIENTS)/java && ../../../.ci/quietly mvn --batch-mode --quiet compile
	@touch $@
