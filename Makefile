# Two commands to begin with: `make demo` draws pictures with the bundled model, `make test` passes the tests.
# Each makes its own environment below .venv, with the exact versions of constraints.txt.

PYTHON ?= python3
SYSTEM = system
INSTALL = bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test test-system fuzz bench bench-peers bench-scenarios bench-variants bench-bulk bench-dashboard bench-observability bench-gpu soak sbom proto constraints clean

demo: .venv/demo/ready  ## Starts a server on the bundled model, asks it for pictures, and says where they are.
	.venv/demo/bin/python deploy/demo.py demo

test: .venv/test/ready  ## Lints, checks types and imports, and runs all tests that need Python alone.
	.venv/test/bin/ruff check .
	.venv/test/bin/ruff format --check .
	.venv/test/bin/mypy service training
	.venv/test/bin/lint-imports
	.venv/test/bin/python -m pytest -m "not system" --numprocesses auto --maxprocesses 4 --dist worksteal

test-system: .venv/test/ready  ## Runs the tests that need programs from outside; what can't be had is skipped by name.
	.venv/test/bin/python -m pytest -m "$(SYSTEM)" -o faulthandler_timeout=900

bench: .venv/bench/ready build/bench/random-32 build/bench/random-64  ## Measures it beside raw onnxruntime; needs h2load.
	.venv/bench/bin/python tests/benchmarks/serving.py

bench-peers: .venv/bench/ready build/bench/random-64  ## Measures it beside MLServer, LitServe and PyTriton from PyPI.
	.venv/bench/bin/python tests/benchmarks/peers.py

bench-scenarios: .venv/bench/ready build/bench/random-64  ## Measures latency, restarts, fairness and overload.
	.venv/bench/bin/python tests/benchmarks/scenarios.py --model build/bench/random-64
	.venv/bench/bin/python tests/benchmarks/scenarios.py --model fashion

bench-variants: .venv/bench/ready build/bench/random-64  ## Measures int8 beside float32, through gRPC and raw; needs h2load.
	.venv/bench/bin/python tests/benchmarks/variants.py

bench-bulk: .venv/bench/ready  ## Draws a million images into one zip, undisturbed and killed, and compares.
	.venv/bench/bin/python tests/benchmarks/bulk.py

bench-dashboard: .venv/bench/ready  ## Draws the dashboard of a server that is calm, full and overloaded; needs apt-get.
	.venv/bench/bin/python tests/benchmarks/dashboard.py

bench-observability: .venv/bench/ready build/bench/random-64  ## Measures what logs, metrics and traces cost a call.
	.venv/bench/bin/python tests/benchmarks/observability.py

bench-gpu: .venv/bench-gpu/ready  ## Measures it on an NVIDIA GPU beside raw onnxruntime there, in about 8 minutes.
	test -d build/bench/random-64 || .venv/bench-gpu/bin/dcgan-train export --random --size 64 --width 64 --output build/bench/random-64
	.venv/bench-gpu/bin/python tests/benchmarks/gpu.py

soak: .venv/bench/ready  ## Asks 200,000 times, cancels, kills clients, and compares every image and the memory.
	.venv/bench/bin/python tests/benchmarks/soak.py

fuzz: .venv/test/ready  ## Sends 100,000 random and hostile requests to a server.
	.venv/test/bin/python tests/faults/hostile.py

sbom: .venv/image/ready  ## Lists what the image's Python environment is made of: build/sbom.json, CycloneDX.
	mkdir -p build
	.venv/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json .venv/image

proto: .venv/test/ready  ## Generates the stubs after a change of the proto.
	.venv/test/bin/python proto/generate.py service

constraints:  ## Renews constraints.txt from the newest versions that pyproject.toml allows.
	$(PYTHON) -m venv --clear .venv/constraints
	.venv/constraints/bin/python -m pip install --quiet --editable '.[dev]'
	.venv/constraints/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt

clean:  ## Removes environments, caches and the demo's pictures.
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build demo dist

.venv/demo/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/demo
	.venv/demo/$(INSTALL) '.[cpu]'
	touch $@

.venv/image/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/sbom
	.venv/sbom/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
	$(PYTHON) -m venv --clear --without-pip .venv/image
	.venv/sbom/bin/python -m pip --python .venv/image/bin/python install --quiet --constraint constraints.txt '.[cpu,otel]'
	touch $@

.venv/bench/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/bench
	.venv/bench/$(INSTALL) '.[cpu,bench]'
	touch $@

.venv/bench-gpu/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/bench-gpu
	.venv/bench-gpu/$(INSTALL) '.[gpu,training]'
	touch $@

build/bench/random-32 build/bench/random-64:
	$(MAKE) .venv/test/ready
	.venv/test/bin/dcgan-train export --random --size $(subst build/bench/random-,,$@) --width 64 --output $@

.venv/test/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/test
	.venv/test/$(INSTALL) '.[cpu,training,test]'
	touch $@
