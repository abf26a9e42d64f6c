# make setup | demo | test | check | bench | serve | lock: each sets up .venv from requirements.lock by itself.
PYTHON ?= $(shell command -v python3.11 2>/dev/null || command -v python3.12 2>/dev/null || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# The stamp names the lock and the interpreter: change either and the environment is made anew.
READY := $(VENV)/.ready-$(shell cat requirements.lock bootstrap.lock pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)

.PHONY: setup demo test check format bench serve ci lock clean
.DEFAULT_GOAL := demo

$(READY): requirements.lock bootstrap.lock pyproject.toml
	@./setup.sh "$(PYTHON)" "$(VENV)"
	@touch $@

# The environment alone.
setup: $(READY)

demo: $(READY)
	@$(BIN)/bondhu demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

# The whole suite on every core, each with servers of its own; what ARGS names in one process.
test: $(READY)
	$(BIN)/pytest $(or $(ARGS),-n auto --dist worksteal)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! grep -n '://' *.lock || (echo "a lock names a registry's address: make lock" >&2; exit 1)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# make bench-features, bench-quality ...: one benchmark; make bench: all of them, one after another.
BENCHMARKS := $(filter-out __init__ results,$(basename $(notdir $(wildcard benchmarks/*.py))))
bench-%: $(READY)
	$(BIN)/python -m benchmarks.$*

bench: $(READY)
	@set -e; for name in $(BENCHMARKS); do $(MAKE) --no-print-directory bench-$$name; done

serve: $(READY)
	@$(BIN)/bondhu serve $(if $(PORT),--port $(PORT))

ci:
	bash .ci/run

# The only command that changes a locked version. --upgrade: or uv would prefer what the old lock says.
lock: $(READY)
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade --all-extras --quiet pyproject.toml -o requirements.lock
	# What a worker needs, at the versions locked above; BentoML adds itself without a hash, so none here.
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-annotate --no-header --quiet --constraint requirements.lock serving.in -o serving.lock
	echo uv | $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade --quiet - -o bootstrap.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
