# amqpd. `make run` starts a broker from a fresh clone; `make test` and `make check` are what a change must pass.
#
#   .venv           what a user runs: compiled when a C compiler is there
#   .venv-dev       editable, pure Python, with test and lint tools
#   .venv-compiled  a compiled wheel, installed beside the test tools

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first Python that is new enough; `make PYTHON=/some/python3.13 run` chooses another.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $$p && break; done)

SOURCES := $(shell find amqpd -name '*.py' -o -name py.typed)
BUILD_FILES := pyproject.toml setup.py
# Plugins that are kept here: a package each, installed beside amqpd.
PLUGINS := $(patsubst %/pyproject.toml,./%,$(wildcard plugins/*/pyproject.toml))
PLUGIN_FILES := $(wildcard plugins plugins/*/pyproject.toml) $(shell find $(wildcard plugins/*/src) /dev/null -type f \
	! -path '*.egg-info/*' ! -path '*/__pycache__/*')
# A stamp holds the names of what was installed with it, so that a plugin that is gone or has another name now goes.
PLUGIN_NAMES = sed -n 's/^name = "\(.*\)"/\1/p' /dev/null $(PLUGINS:=/pyproject.toml)
empty :=
export MYPYPATH := $(subst $(empty) ,:,$(strip $(wildcard plugins/*/src)))
# Programs without a suffix are checked like modules.
SCRIPTS := $(shell grep -rlIE --exclude='*.py' --exclude-dir=__pycache__ -m1 '^\#!.*python' bench interop 2>/dev/null)
CHECKED := setup.py $(wildcard amqpd tests interop bench plugins) $(SCRIPTS)

TESTS ?=
# What `make interop` runs: families or groups of them (`interop/run --list`), and how (`interop/run --help`).
NAMES ?=
OPTIONS ?=

DEV := .venv-dev/bin
COMPILED := $(CURDIR)/.venv-compiled/bin
SUITE := $(CURDIR)/.venv-compiled/suite
# The compiled form is tested as it is installed: the tests are imported through links in SUITE, so neither the
# working directory nor sys.path leads to the amqpd directory here.
PYTEST_COMPILED = cd $(SUITE) && PYTHONSAFEPATH=1 AMQPD_EXPECT=compiled $(COMPILED)/pytest \
	-c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) -o pythonpath=$(SUITE) -p no:cacheprovider

.PHONY: help run install dev test test-compiled check format interop fuzz powercut clean python

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 22

run: install ## install, then start the broker on 127.0.0.1:5672 with its data in ./var
	.venv/bin/amqpd run --data-dir var

install: .venv/.installed .venv/.plugins ## leave .venv/bin/amqpd, with the plugins

dev: .venv-dev/.plugins ## set up .venv-dev for working on amqpd

test: .venv-dev/.plugins ## pass the tests in the pure form (TESTS=... chooses)
	AMQPD_EXPECT=pure $(DEV)/pytest -m 'not interop and not root' $(TESTS)

test-compiled: .venv-compiled/.plugins ## pass the same tests in the compiled form
	$(PYTEST_COMPILED) -m 'not interop and not root' $(addprefix $(CURDIR)/,$(or $(TESTS),tests plugins))

check: .venv-dev/.plugins ## formatting, lint, types, layers, documents
	$(DEV)/ruff format --check $(CHECKED)
	$(DEV)/ruff check $(CHECKED)
	$(DEV)/mypy --scripts-are-modules $(CHECKED)
	$(DEV)/lint-imports
	$(DEV)/pytest -q -m 'not interop' tests/test_docs.py tests/test_layers.py tests/test_dependencies.py

format: .venv-dev/.plugins ## let ruff rewrite what it can
	$(DEV)/ruff check --fix $(CHECKED)
	$(DEV)/ruff format $(CHECKED)

interop: ## client libraries against the compiled broker (NAMES=ci chooses, OPTIONS="--against URL" compares)
	interop/run $(OPTIONS) $(NAMES)

fuzz: .venv-dev/.plugins ## feed broken sessions to the core for a minute (FUZZ="--seconds 600 --seed 1")
	$(DEV)/python -m tests.fuzz $(FUZZ)

powercut: .venv-dev/.plugins ## cut the power of a loop-mounted filesystem under load (root)
	$(DEV)/pytest -m root $(or $(TESTS),tests/process)

clean: ## remove everything that make made, but not ./var and the clients in .cache
	rm -rf .venv .venv-dev .venv-compiled build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache \
		.import_linter_cache .hypothesis plugins/*/build plugins/*/src/*.egg-info
	find amqpd tests interop bench plugins setup.py -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

python:
	@if [ -z "$(PYTHON)" ]; then echo 'amqpd needs Python 3.11 or newer; none of python3, python3.11 ... is.' \
		'Install one, or say make PYTHON=/path/to/python3.' >&2; exit 1; fi
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo 'amqpd needs Python 3.11 or newer: $(PYTHON) is older.' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo '$(PYTHON) cannot make a virtual environment:' \
		'install its venv package (Debian and Ubuntu: apt-get install python3-venv).' >&2; exit 1; }

# A wheel is built first and then installed by force, so that changed sources with the same version are seen. The
# stamp is as old as the beginning of the build: what is edited meanwhile is built next time.
.venv/.installed: $(SOURCES) $(BUILD_FILES) | python
	test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@touch .venv/.started
	@echo 'Building amqpd: a minute or two where a C compiler is found.'
	@rm -rf .venv/wheel; .venv/bin/pip wheel -v --no-deps -w .venv/wheel . >.venv/build.log 2>&1 || \
		{ cat .venv/build.log; exit 1; }
	.venv/bin/pip install -q .venv/wheel/*.whl
	.venv/bin/pip install -q --no-deps --force-reinstall .venv/wheel/*.whl
	@if .venv/bin/python -m zipfile -l .venv/wheel/*.whl | grep __mypyc >/dev/null; then echo 'Installed the compiled form.'; \
		else sed -n 's/^ *amqpd: //p' .venv/build.log | sort -u; \
		echo 'Installed the pure Python form, which is several times slower (more in .venv/build.log).'; fi
	@mv .venv/.started $@

.venv/.plugins: .venv/.installed $(PLUGIN_FILES)
	@$(PLUGIN_NAMES) >.venv/.started
	@if [ -s $@ ]; then xargs .venv/bin/pip uninstall -q -y <$@; fi
	rm -rf .venv/plugins plugins/*/build
ifneq ($(PLUGINS),)
	.venv/bin/pip wheel -q --no-deps -w .venv/plugins $(PLUGINS)
	.venv/bin/pip install -q .venv/plugins/*.whl
	.venv/bin/pip install -q --no-deps --force-reinstall .venv/plugins/*.whl
endif
	@mv .venv/.started $@

.venv-dev/.plugins: .venv-dev/.installed $(wildcard plugins plugins/*/pyproject.toml)
	@$(PLUGIN_NAMES) >.venv-dev/.started
	@if [ -s $@ ]; then xargs .venv-dev/bin/pip uninstall -q -y <$@; fi
	rm -rf plugins/*/src/*.egg-info
ifneq ($(PLUGINS),)
	.venv-dev/bin/pip install -q --no-build-isolation $(addprefix -e ,$(PLUGINS))
endif
	@mv .venv-dev/.started $@

.venv-dev/.installed: $(BUILD_FILES) | python
	test -x .venv-dev/bin/pip || $(PYTHON) -m venv .venv-dev
	.venv-dev/bin/pip install -q -e '.[dev]'
	touch $@

.venv-compiled/.tools: $(BUILD_FILES) | python
	test -x .venv-compiled/bin/pip || $(PYTHON) -m venv .venv-compiled
	mkdir -p $(SUITE)
	for d in tests interop bench; do ln -sfn ../../$$d $(SUITE)/$$d; done
	touch $@

.venv-compiled/.installed: .venv-compiled/.tools $(SOURCES) $(BUILD_FILES)
	@touch .venv-compiled/.started
	rm -rf .venv-compiled/wheel && AMQPD_PURE=0 .venv-compiled/bin/pip wheel -q --no-deps -w .venv-compiled/wheel .
	wheel=`ls .venv-compiled/wheel/*.whl` && .venv-compiled/bin/pip install -q "$$wheel[dev]" && \
		.venv-compiled/bin/pip install -q --no-deps --force-reinstall "$$wheel"
	@mv .venv-compiled/.started $@

.venv-compiled/.plugins: .venv-compiled/.installed $(PLUGIN_FILES)
	@$(PLUGIN_NAMES) >.venv-compiled/.started
	@if [ -s $@ ]; then xargs .venv-compiled/bin/pip uninstall -q -y <$@; fi
	rm -rf .venv-compiled/plugins plugins/*/build
ifneq ($(PLUGINS),)
	.venv-compiled/bin/pip wheel -q --no-deps --no-build-isolation -w .venv-compiled/plugins $(PLUGINS)
	.venv-compiled/bin/pip install -q .venv-compiled/plugins/*.whl
	.venv-compiled/bin/pip install -q --no-deps --force-reinstall .venv-compiled/plugins/*.whl
endif
	@mv .venv-compiled/.started $@
