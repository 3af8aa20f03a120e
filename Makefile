# People and CI use the same commands.
VENV ?= .venv
export VENV
# One process per core; a file's tests share their servers, and slow files come first.
XDIST := -n auto --dist loadfile --no-loadscope-reorder
# Where it is set, each of the hundred services that tests start would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test clients-test monitoring-test coverage check check-manifests lock sbom check-pythons images bundle image-test cluster-test bench-engine \
	bench-serving bench-transformer bench-prediction bench-cluster bench-monitoring soak clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Set up, build the demo release, serve it and translate real titles (ARGS=--once ends there)
	@scripts/setup cpu
	@$(VENV)/bin/python examples/demo.py $(ARGS)

test: ## Set up, check format, types and import rules, and run all tests
	@scripts/setup dev
	@scripts/check
	@$(VENV)/bin/python -m pytest $(XDIST) $(ARGS)

check: ## Format, lint, types and import rules alone
	@scripts/setup dev
	@scripts/check

check-manifests: ## Build every overlay and combination of components with kubectl, and check them
	@scripts/setup dev
	@scripts/check-manifests $(ARGS)

clients-test: ## Run the clients of DeepL, LibreTranslate, OpenAI and Google, Python and Node.js, against the demo service
	@scripts/setup dev
	@scripts/clients-test

monitoring-test: ## Make every alert fire by a real fault, before a real Prometheus: five minutes
	@scripts/setup dev
	@$(VENV)/bin/python -m pytest -n 4 --dist worksteal -m faults tests/monitoring $(ARGS)

coverage: ## Run the tests with branch coverage, which must not fall below the floor in pyproject.toml
	@scripts/setup dev
	@$(VENV)/bin/python -m pytest $(XDIST) -m "not untraced and not faults" --cov $(ARGS)

lock: ## Lock what images and `make demo` install: versions and hashes (ARGS=--upgrade takes newer ones)
	@scripts/setup dev
	@scripts/lock $(ARGS)

sbom: ## Write the software bill of materials of each image, CycloneDX, to build/sbom
	@scripts/setup dev
	@scripts/sbom

check-pythons: ## Run the tests on the oldest and the newest Python (3.10, 3.13), in environments of their own
	@scripts/check-pythons $(ARGS)

images: ## Build the images with docker, podman or buildah (ARGS="transformer predictor-cpu" builds these)
	@scripts/images $(ARGS)

bundle: ## Write one file for an installation without a network (RELEASE=DIR OVERLAY=NAME)
	@scripts/setup dev
	@scripts/bundle

image-test: ## Build images on a Debian made for it, and translate with them (needs root, buildah, debootstrap)
	@scripts/image-test

cluster-test: ## Run the tests against the cluster of your KUBECONFIG (ARGS=--quick: the short ones; --thorough: doctor and canaries too)
	@scripts/setup dev
	@scripts/cluster-test $(ARGS)

bench-engine: ## Compare the engine with CTranslate2, llama.cpp and transformers on this machine
	@scripts/setup dev
	@scripts/setup bench
	@$(VENV)/bin/python -m benchmarks.engine --out docs/benchmarks/engine --cache var/benchmarks/cache $(ARGS)

bench-serving: ## Measure what serving costs on top of the engine: HTTP, Python, start, memory
	@scripts/setup dev
	@$(VENV)/bin/yiwen release build examples/demo_model/checkpoint --output var/demo-release --name demo --force
	@$(VENV)/bin/python -m benchmarks.engine.service --release var/demo-release --out docs/benchmarks/serving-demo.json

bench-transformer: ## Measure what the transformer costs beside a bare KServe model (ARGS=--quick takes two minutes)
	@scripts/setup dev
	@$(VENV)/bin/yiwen release build examples/demo_model/checkpoint --output var/demo-release --name demo --force
	@$(VENV)/bin/python -m benchmarks.transformer --release var/demo-release $(ARGS)

bench-prediction: ## Compare the simulator with the real service on this machine: twenty minutes, and nothing beside it
	@scripts/setup dev
	@$(VENV)/bin/yiwen release build examples/demo_model/checkpoint --output var/demo-release --name demo --force
	@$(VENV)/bin/python -m benchmarks.prediction --release var/demo-release $(ARGS)

bench-cluster: ## Compare the simulator with the cluster of your KUBECONFIG under changing load: twelve minutes, as root
	@scripts/setup dev
	@$(VENV)/bin/yiwen release build examples/demo_model/checkpoint --output var/demo-release --name demo --force
	@$(VENV)/bin/python -m benchmarks.cluster --release var/demo-release --out docs/benchmarks/cluster $(ARGS)

bench-monitoring: ## Answer the questions of on-call while faults last, and draw the dashboards: six minutes
	@scripts/setup dev
	@$(VENV)/bin/yiwen release build examples/demo_model/checkpoint --output var/demo-release --name demo --force
	@$(VENV)/bin/yiwen release build examples/demo_model/checkpoint --output var/demo-canary --name demo --force \
		--precision int8-weights
	@$(VENV)/bin/python -m benchmarks.monitoring --release var/demo-release --canary var/demo-canary \
		--out docs/images/dashboards $(ARGS)

soak: ## Serve for half an hour at 70 % of the capacity with a fault every minute, and nothing beside it
	@scripts/setup dev
	@$(VENV)/bin/yiwen release build examples/demo_model/checkpoint --output var/demo-release --name demo --force
	@$(VENV)/bin/python -m benchmarks.soak --release var/demo-release $(ARGS)

clean: ## Remove what these commands made
	rm -rf $(VENV) $(VENV)-sbom var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
