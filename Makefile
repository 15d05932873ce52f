# The commands of this project; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NAME ?= main-job
FUZZ_SECONDS ?= 600
# Workers of `make test`: much of its time is waiting for servers, so one more than the two cores of the smallest machine.
WORKERS ?= 3
# Of `make lab-test`: the lab is one, and beside it API servers and engines.
LAB_WORKERS ?= 2
# `make lab-test STAGE=...`: a part of it; the three together are all of it, whatever is added to the tests.
STAGE ?=
LAB_STAGE_anomalies := tests/integration/lab/anomalies
LAB_STAGE_scenarios := tests/integration/lab/scenarios
LAB_STAGE_rest := $(addprefix --ignore=,$(LAB_STAGE_anomalies) $(LAB_STAGE_scenarios))
# What `make check` tests; empty where `make test` follows, which runs all of it (.ci/run).
GUARDS ?= tests/guards
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
.PHONY: help setup native demo redteam redteam-short lab-ready test lab-test check bench bench-ml accept docs wheel flink-tools flink-ready train-tools train-ready servers-ready train-test fuzz lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready native ## install what is missing, make .venv, build the native parts (under 3 minutes)

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@tools/install_ebpf_deps.sh --check >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then tools/install_ebpf_deps.sh; \
	  else echo "missing: $$(tools/install_ebpf_deps.sh --check | tr '\n' ' ')"; echo "run: sudo tools/install_ebpf_deps.sh"; exit 2; fi; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Loomidi needs Python 3.11 or newer; run: make setup PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

native: | $(VENV)/.ready
	@$(MAKE) -s -C bpf

demo: setup ## attack a small network of namespaces and watch it being defended (root for real XDP)
	@$(BIN)/loomidi demo

redteam-short: setup ## the short catalogue of attacks in namespaces, both modes, under 5 minutes (root)
	@tools/install_ebpf_deps.sh --redteam
	@$(BIN)/loomidi-lab redteam --short --results .work/redteam-short.jsonl

redteam: setup ## the whole catalogue, stage by stage, each under 20 minutes, and the table of docs/resilience.md (root)
	@tools/install_ebpf_deps.sh --redteam
	@failed=0; for stage in 1 2 3 4; do \
	  $(BIN)/loomidi-lab redteam --stage $$stage --results .work/redteam.jsonl --into docs/resilience.md || failed=1; done; exit $$failed

lab-ready: setup ## build the lab's cluster and images once (root, Go; about ten minutes, later seconds)
	@if [ "$$(id -u)" = 0 ] && command -v go >/dev/null; then \
	  { tools/install_ebpf_deps.sh --lab && $(BIN)/loomidi-lab build; } || echo "lab: could not be built, its tests are skipped"; \
	  else echo "lab: needs root and Go, its tests are skipped"; fi

test: setup lab-ready flink-ready train-ready servers-ready ## every test that this machine can run, with the reason of each skip
	@$(BIN)/python -m pytest -n $(WORKERS)
	@if [ -f $(TRAIN)/.ready ]; then $(MAKE) -s train-test; else echo "train: no environment with torch and MLflow, tests/train is skipped"; fi

lab-test: setup ## all tests of the lab: every scenario, recordings, Cilium, other policy engines (root, Go; over an hour; STAGE=anomalies, scenarios or rest: a part)
	$(if $(STAGE),$(if $(LAB_STAGE_$(STAGE)),,$(error no stage $(STAGE) of lab-test; there are anomalies, scenarios and rest)))
	@tools/install_ebpf_deps.sh --cilium
	@$(BIN)/loomidi-lab build --with cilium --with kyverno --with gatekeeper --with registry --with cosign --with helm --with istio
	@$(BIN)/python -m pytest -m "lab or lab_long" -n $(LAB_WORKERS) $(LAB_STAGE_$(STAGE))

check: setup ## lint, format, types, layers, house figures, C format
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary
	@for file in .importlinter .importlinter-lab; do \
	  $(BIN)/lint-imports --no-logo --no-cache --config $$file > .venv/layers.txt || { cat .venv/layers.txt; exit 1; }; done
	@test -z "$(GUARDS)" || $(BIN)/python -m pytest --no-header $(GUARDS) -m "not slow"
	@if command -v clang-format >/dev/null; then \
	  find bpf -name '*.[ch]' ! -path 'bpf/build/*' -print0 | xargs -0 clang-format --dry-run -Werror; \
	  else echo "check: clang-format is not installed, C format not checked"; fi

bench: setup ## measure beside the peers, write docs/benchmarks.md
	@$(PIP) install --require-hashes -r requirements-bench.lock
	@$(BIN)/python -m bench.report --run

bench-ml: native train-tools ## measure B1 to B8 where models are trained, write docs/benchmarks.md (hours; goes on where it was broken off); ONLY=name: that script, no page
	@OMP_NUM_THREADS=1 PYTHONPATH=src $(TRAIN)/venv/bin/python -m bench.report --run --ml $(if $(ONLY),--only $(ONLY) --no-page,--go-on)

accept: setup ## run acceptance/$(NAME).toml, write docs/acceptance/$(NAME).md
	@$(PIP) install --require-hashes -r requirements-bench.lock
	@$(BIN)/python -m tools.accept $(NAME)

docs: setup ## renew docs/cli.md, docs/guardrails-kubernetes.md, rules/guardrails for other engines, deployments/crd, rbac and the chart's files
	@$(BIN)/python -m tools.cli_page
	@$(BIN)/python -m tools.engines
	@$(BIN)/python -m tools.guardrails_page
	@$(BIN)/python -m tools.crds
	@$(BIN)/python -m tools.rbac
	@$(BIN)/python -m tools.chart

wheel: setup ## dist/*.whl with the compiled meter and the BPF objects inside
	@rm -rf dist
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . > .venv/wheel.txt 2>&1 || { cat .venv/wheel.txt; exit 1; }
	@ls dist/*.whl

FLINK := $(HOME)/.cache/loomidi/flink-2.3.0
FLINK_KAFKA := flink-sql-connector-kafka-5.0.0-2.2.jar
flink-tools: $(FLINK)/.ready ## PyFlink in an environment of its own and its Kafka connector (Java 17, Maven, 1 GB, two minutes)

$(FLINK)/.ready: requirements-flink.lock
	@command -v java >/dev/null && command -v mvn >/dev/null || { echo "missing: java or mvn; run: apt-get install openjdk-17-jdk-headless maven"; exit 2; }
	@mkdir -p $(FLINK)
	@test -x $(FLINK)/venv/bin/python || $(PYTHON) -m venv $(FLINK)/venv
	@$(FLINK)/venv/bin/python -m pip --disable-pip-version-check -q install --require-hashes -r requirements-flink.lock
	@test -f $(FLINK)/$(FLINK_KAFKA) || mvn -q -B dependency:copy -DoutputDirectory=$(FLINK) \
	  -Dartifact=org.apache.flink:flink-sql-connector-kafka:$(FLINK_KAFKA:flink-sql-connector-kafka-%.jar=%)
	@touch $@

flink-ready:
	@if command -v java >/dev/null && command -v mvn >/dev/null; then $(MAKE) -s flink-tools || echo "flink: could not be installed, its tests are skipped"; \
	  else echo "flink: needs Java 17 and Maven, its tests are skipped"; fi

# What trains models (torch, MLflow, Ray) has an environment of its own, by the lock that it is made of: 5 GB, and an older pyarrow than the pipeline's.
TRAIN := $(HOME)/.cache/loomidi/train-$(shell sha256sum requirements-train.lock | cut -c 1-12)
train-tools: $(TRAIN)/.ready ## torch, MLflow and Ray in an environment of their own (5 GB, three minutes)

$(TRAIN)/.ready: requirements-train.lock
	@mkdir -p $(TRAIN)
	@test -x $(TRAIN)/venv/bin/python || $(PYTHON) -m venv $(TRAIN)/venv
	@$(TRAIN)/venv/bin/python -m pip --disable-pip-version-check -q install --require-hashes -r requirements-train.lock
	@touch $@

train-ready:
	@$(MAKE) -s train-tools || echo "train: could not be installed"

servers-ready: setup
	@$(BIN)/python -m tests.built

train-test: native ## the tests of what trains models, in that environment
	@PYTHONPATH=src $(TRAIN)/venv/bin/python -m pytest $(or $(ONLY),tests/train)

fuzz: setup ## fuzz the C capture reader under ASan and UBSan for FUZZ_SECONDS
	@bpf/fuzz/run.sh $(FUZZ_SECONDS)

lock: ## renew the locks from pyproject.toml (needs uv)
	@for set in "requirements:" "requirements-dev:--extra dev" "requirements-bench:--extra dev --extra bench" \
	    "requirements-train:--extra dev --extra learn --extra train" "requirements-image:--extra pipeline --extra kafka --extra images -c requirements-dev.lock"; do \
	  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-header --no-annotate $${set#*:} pyproject.toml -o $${set%%:*}.lock || exit 1; done
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate requirements-flink.txt -o requirements-flink.lock

clean: ## remove everything that was built or cached here
	@test ! -f bpf/Makefile || $(MAKE) -s -C bpf clean
	@rm -rf $(VENV) build dist .work .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/loomidi/loom/native
	@find src tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} +
