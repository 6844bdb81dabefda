# Two commands: `make serve` and `make test`. Everything they need is installed into .venv from requirements/.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ENGINE ?= vllm

.DEFAULT_GOAL := help
.PHONY: help env serve test check unit pair integration browser slow live docs audit lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t14

env: ## the environment in .venv (exact versions; does nothing when it is current)
	@PYTHON=$(PYTHON) bash requirements/install.sh $(VENV)

serve: env ## a routed OpenAI API on this machine: ENGINE=vllm|sim, MODEL= DRAFT= for your own, PORT=, CONFIG=
	@$(BIN)/alpharoute serve --engine $(ENGINE) $(if $(MODEL),--model $(MODEL)) $(if $(DRAFT),--draft $(DRAFT)) \
	  $(if $(PORT),--port $(PORT)) $(if $(CONFIG),--config $(CONFIG))

check: env ## ruff, mypy, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: env ## everything that needs neither Ray nor vLLM (real Redis included)
	$(BIN)/pytest -q -n auto --maxprocesses 8 -m "not ray and not vllm and not slow"

pair: env ## the demo pair (trained once, minutes; kept in ~/.cache/alpharoute)
	@$(BIN)/python -m engines.demo >/dev/null

integration: env pair ## real Ray Serve, real vLLM on CPU, real Redis
	$(BIN)/pytest -q --durations=25 --durations-min=8 -m "(ray or vllm) and not slow"

browser: ## Debian's Chromium for the console's tests (installed where this is root; else they skip)
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || true

slow: env pair browser ## what takes minutes of its own: the chart deployed, every speculation method, the console in a browser
	$(BIN)/pytest -q --durations=15 --durations-min=8 -m slow

test: check unit integration ## all of it but the slow

live: env ## the three-way comparison on real vLLM
	$(BIN)/python -m bench.live

docs: env ## the documentation as a site in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q && echo "site/index.html"

audit: ## known vulnerabilities of the locked packages (asks PyPI; ends with 2 where it could not ask for all)
	@PYTHON=$(PYTHON) bash requirements/audit.sh

lock: ## write requirements/*.txt from the environment as it is now
	@bash requirements/lock.sh $(VENV)

clean: ## remove the environment and caches (the demo pair stays in ~/.cache/alpharoute)
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
