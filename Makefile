# ipsectools. `make` alone tells what there is to make.

VENV   := .venv
PY     := $(VENV)/bin/python
PREFIX ?= /usr/local
JOBS   ?= auto
MAN    := $(wildcard man/*.[1-9])
NATIVE := $(shell find ipsectools -name '*.pyx' -o -name '*.pxd' -o -name '*.[ch]' ! -name _fast.c)
C      := $(shell find ipsectools tests -name '*.[ch]' ! -name _fast.c)

.DEFAULT_GOAL := help
.PHONY: help venv demo test long fresh bench bench-cli kills soak check format clean install uninstall

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.built ## sets up .venv (every other target does it by itself)

$(VENV)/.ready: pyproject.toml .make/make-venv
	@PYTHON='$(PYTHON)' sh .make/make-venv $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.ready .make/build-native $(NATIVE)
	@sh .make/build-native $(PY)
	@touch $@

demo: $(VENV)/.built ## the two-host example of if_ipsec(4), with real packets where that is possible
	@$(PY) -m ipsectools.lab

test: $(VENV)/.built ## all tests but the long ones (as root: with real packets)
	$(PY) -m pytest -n $(JOBS)

long: $(VENV)/.built ## the long tests
	$(PY) -m pytest -n $(JOBS) -m long --timeout 1200

fresh: $(VENV)/.built ## `make test` on bare Debian 12 and 13, as root and as a user (root; FRESH='13-user' for one of them)
	@sh .make/fresh $(FRESH)

bench: $(VENV)/.built ## our tunnels, others and the limits side by side (root; BENCH='--help' for options)
	@$(PY) -m tests.bench.tunnels $(BENCH)

bench-cli: $(VENV)/.built ## start-up and bulk times of the commands, and ipsecd at scale (root)
	@$(PY) -m tests.bench.commands $(BENCH)

kills: $(VENV)/.built ## ipsecd killed two hundred times under traffic, with each core and sort of cipher (root; twenty minutes)
	$(PY) -m pytest -n $(JOBS) -m kills --timeout 0

soak: $(VENV)/.built ## ten minutes of traffic with new keys every five seconds (SOAK_SECONDS)
	$(PY) -m pytest -m soak -n 0 --timeout 0

check: $(VENV)/.built ## format, lint, types, manual pages
	$(PY) -m ruff format --check ipsectools tests
	$(PY) -m ruff check ipsectools tests
	$(PY) -m mypy
	$(VENV)/bin/clang-format --dry-run -Werror $(C)
	@sh .make/lint-c
	@sh .make/lint-manuals $(MAN)

format: $(VENV)/.built ## formats the code
	$(PY) -m ruff format ipsectools tests
	$(PY) -m ruff check --fix ipsectools tests
	$(VENV)/bin/clang-format -i $(C)

install: ## commands, manual pages and the package under PREFIX (/usr/local); DESTDIR is honoured
	@PYTHON='$(PYTHON)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' sh .make/install

uninstall: ## takes away what `make install` with the same PREFIX and DESTDIR put there
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' sh .make/install --remove

clean: ## removes everything that was made
	rm -rf $(VENV) build dist bench-results .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find ipsectools tests -name __pycache__ -prune -exec rm -rf {} +
	find ipsectools -name '*.so' -exec rm -f {} +
	rm -f ipsectools/datapath/_fast.c
