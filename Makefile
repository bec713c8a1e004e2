# `make` alone lists the targets. Nothing needs root. A command installs missing tools into target/ and .tools/,
# or by rustup as rust-toolchain.toml says, and reports that.

PYTHON ?= python3
# The ports of `make run`, all on the loopback interface, in case the configuration's ports are in use.
PORT ?=
ADMIN_PORT ?=
UPSTREAM_PORT ?=
PORTS = $(if $(PORT),--port $(PORT)) $(if $(ADMIN_PORT),--admin-port $(ADMIN_PORT)) \
    $(if $(UPSTREAM_PORT),--upstream-port $(UPSTREAM_PORT))
# The Envoys that the guard is tested in. `test` uses the one that `run` starts.
ENVOY_PINNED := 1.40.0
ENVOY_OTHERS := 1.36.4 1.37.0 1.39.3
ENVOY_VERSIONS := $(ENVOY_OTHERS) $(ENVOY_PINNED)
# A file to use instead of these: make run ENVOY=/path/to/envoy. Without it, ENVOY_PATH does the same, as for func-e.
ENVOY ?=
export ENVOY

WASM := wasm32-wasip1
STATIC := x86_64-unknown-linux-musl
# Compiled packages differ between the versions of Python.
PACKAGES := .tools/python$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# In a folder of its own, because it needs no particular Python, and other packages do.
ZIZMOR := .tools/zizmor

NODE_SDKS := .tools/node-sdks

# The oldest Rust that Cargo.toml promises.
RUST_OLDEST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# Tools from crates.io, in the subfolder bin.
CARGO_TOOLS := .tools/cargo
MUTANTS_FLAGS ?= --jobs 2
SOAK_REQUESTS ?= 100000
# How long each target is fuzzed.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(patsubst tests/fuzz/targets/%.rs,%,$(wildcard tests/fuzz/targets/*.rs))

# Installs programs of the platforms, such as istioctl or kube-apiserver, into .tools/: see tests/harness/tools.py.
INSTALL := PYTHONPATH=$(CURDIR)/tests $(PYTHON) -B -m harness.tools >/dev/null

# A folder with prometheus and promtool, 2.42 or later. By default they are from Debian's package.
PROMETHEUS_DEFAULT := .tools/prometheus
PROMETHEUS ?= $(PROMETHEUS_DEFAULT)

# Two suites need root: other users write SUDO=sudo. rustup and the tests find their files by the variables that sudo drops.
SUDO ?=
AS_ROOT = $(if $(SUDO),$(SUDO) env HOME="$$HOME" PATH="$$PATH" ENVOY="$$ENVOY",env)

.DEFAULT_GOAL := help
# A target without a folder or an ending in its name is a command, and not a file.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## Lists the targets
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1	/p' $(MAKEFILE_LIST) | expand -t 21 | sed 's/^/  /'

# The same bytes on every machine, and so what is tested is what a release contains. All files and tests name the module by
# this path, whatever the user's CARGO_TARGET_DIR is.
build: rust-target ## Builds target/wasm32-wasip1/release/webhook_guard.wasm
	@$(PYTHON) -B release/cargo.py module

cli: ## Builds target/release/webhook-guard, the command line
	cargo build --release --locked --features cli --bin webhook-guard --target-dir target

# The name under which the image of a release is published. Manifests and notes of a release contain the name.
# Only the environment passes the name on, so no part of it is run by make or the shell.
dist login push sign verify: export IMAGE ?= registry.example.com/webhook-guard

dist: rust-target static-target ## Builds the files of a release into target/dist: IMAGE, UNCOMMITTED=1 to try changed sources
	@PYTHONUTF8=1 UNCOMMITTED=$(UNCOMMITTED) $(PYTHON) -B release/dist.py

# Only the environment passes TAG on, so no part of a tag's name is run by make or the shell.
release-check: ## Checks that a tag, Cargo.toml and CHANGELOG.md agree: TAG
	@$(PYTHON) -B release/release_check.py

# Every file counts, so that a file that SHA256SUMS does not list is a difference, too.
compare-dist: ## Checks that two builds, target/dist and target/dist-again, are equal
	@for each in dist dist-again; do (cd target/$$each && sha256sum --check --quiet --strict SHA256SUMS) || exit; done
	@diff -r target/dist target/dist-again || { echo "the two builds are not equal: do not publish them"; exit 1; }
	@echo "the two builds are equal: $$(sha256sum <target/dist/SHA256SUMS | cut -c 1-64) is the SHA-256 of SHA256SUMS"

# crane writes the credentials into the folder DOCKER_CONFIG, by default ~/.docker. The token is on no command line.
login: ## Logs in to the registry of IMAGE: REGISTRY_USER and REGISTRY_TOKEN, from the environment
	@test -n "$$REGISTRY_TOKEN" || { echo "REGISTRY_TOKEN is not set: export a token that may push $$IMAGE"; exit 1; }
	@$(INSTALL) crane
	@printenv REGISTRY_TOKEN | .tools/crane-*/crane auth login "$${IMAGE%%/*}" \
	    --username "$$REGISTRY_USER" --password-stdin

draft: ## Drafts a release on GitHub with the files of target/dist: TAG and GH_TOKEN, from the environment (needs gh)
	@gh --version >/dev/null || { echo "draft needs gh, the command line of GitHub"; exit 1; }
	@! gh release view "$$TAG" >/dev/null 2>&1 || { echo "$$TAG has a release or a draft: delete the draft first"; exit 1; }
	@gh release create "$$TAG" --draft --verify-tag --title "webhook-guard $$TAG" \
	    --notes-file target/dist/RELEASE-NOTES.md target/dist/*

# The archive of an image, as `make dist` writes it.
ARCHIVE ?= target/dist/webhook-guard-image.tar

push: ## Pushes the image of target/dist with the version as its tag, and prints its digest: IMAGE
	@ARCHIVE=$(ARCHIVE) CRANE=$$(PYTHONPATH=$(CURDIR)/tests $(PYTHON) -B -m harness.tools crane) \
	    $(PYTHON) -B release/push.py

WITH_COSIGN = COSIGN="$${COSIGN:-$$(PYTHONPATH=$(CURDIR)/tests $(PYTHON) -B -m harness.tools cosign)}" $(PYTHON) -B

# The identity of the workflow signs, or elsewhere the private key in the file COSIGN_KEY.
sign: ## Signs target/dist and the pushed image, and verifies both: IMAGE, COSIGN_KEY (needs cosign 3 in COSIGN, or Go)
	@$(WITH_COSIGN) release/sign.py

verify: ## Verifies target/dist and the published image: IMAGE, and REPOSITORY or COSIGN_PUBLIC_KEY (needs the same)
	@$(WITH_COSIGN) release/verify.py

# The tests use this build, which compiles in seconds.
command:
	@cargo build --quiet --locked --features cli --bin webhook-guard --target-dir target

run: build ## Starts Envoy with the guard and a small upstream: PORT, ADMIN_PORT, UPSTREAM_PORT
	@$(PYTHON) envoy/run.py $(PORTS)

run-edge: build $(PACKAGES) ## The same with the production setup, envoy/edge.yaml, and a generated certificate
	@PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) envoy/run.py --edge $(PORTS)

watch: ## Shows the verdicts of a running `make run`, one line each: PORT
	@$(PYTHON) -B envoy/watch.py $(if $(PORT),--port $(PORT))

test: test-core test-cli test-envoy test-edge ## Tests the core, the command line, the guard in Envoy 1.40.0, and edge.yaml

test-core: ## Tests the core alone, without Envoy
	$(PYTHON) tests/summary.py cargo test --locked

test-cli: ## Tests the command line alone, without Envoy
	$(PYTHON) tests/summary.py cargo test --locked --features cli --lib --test cli

test-envoy: build command $(PACKAGES) ## Tests the guard in one Envoy: ENVOY_VERSION, or a file: ENVOY
	@ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES) \
	    $(PYTHON) -B -m pytest tests/envoy $(PYTEST_FLAGS)

test-edge: build $(PACKAGES) ## Tests envoy/edge.yaml and its variants: TLS, limits, timeouts, circuit breakers
	@PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -B -m pytest tests/edge --ignore tests/edge/services $(PYTEST_FLAGS)

.PHONY: test-upgrade baseline
test-upgrade: build $(PACKAGES) ## Tests that the last release's guards and this tree's agree, and that modules can be exchanged
	@ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES) \
	    $(PYTHON) -B -m pytest tests/upgrade $(PYTEST_FLAGS)

baseline: build $(PACKAGES) ## Keeps this tree as the last release, which `make test-upgrade` compares later trees with
	@ENVOY_VERSION=$(ENVOY_PINNED) PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests $(PYTHON) -B tests/upgrade/baseline.py

test-services: build $(PACKAGES) ## Tests edge.yaml with nginx, HAProxy, Caddy, the rate limit service, and the benchmark (needs Go)
	@$(INSTALL) service_cmd config_check_cmd redis-server nginx haproxy caddy h2load valgrind
	@PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -B -m pytest tests/edge/services tests/bench $(PYTEST_FLAGS)

# The tests themselves set what makes func-e and `make run` choose an Envoy.
test-func-e: build $(PACKAGES) ## Tests `func-e run` and `make run` with func-e (needs Go)
	@$(INSTALL) func-e
	@ENVOY= ENVOY_PATH= ENVOY_VERSION=$(ENVOY_PINNED) PYTHONPATH=$(CURDIR)/$(PACKAGES) \
	    $(PYTHON) -B -m pytest tests/func_e $(PYTEST_FLAGS)

test-sdks: node build $(PACKAGES) $(NODE_SDKS) ## Tests that senders' own packages and the guard agree (needs Node.js)
	@PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -B -m pytest tests/sdks $(PYTEST_FLAGS)

test-monitoring: build $(PACKAGES) prometheus ## Tests alerts and dashboard with a real Prometheus: PROMETHEUS (needs Go)
	@$(INSTALL) pilot-agent
	@PROMETHEUS=$(abspath $(PROMETHEUS)) PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -B -m pytest tests/monitoring $(PYTEST_FLAGS)

test-istio: build $(PACKAGES) ## Tests envoy/istio with a real istiod and API server (builds them for 6 minutes once, needs Go)
	@$(INSTALL) pilot-discovery kube-apiserver etcd pilot-agent prometheus crane
	@ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES) \
	    $(PYTHON) -B -m pytest tests/istio $(PYTEST_FLAGS)

# In namespaces of their own: the rules of iptables stay there, and every process ends with pytest.
test-istio-root: build node $(PACKAGES) ## Tests the sidecar with real iptables and pilot-agent (needs root or SUDO=sudo, Node.js and Go)
	@test "$$($(SUDO) id -u)" = 0 || \
	    { echo "test-istio-root sets iptables rules in network namespaces: run it as root, or with SUDO=sudo"; exit 1; }
	@$(INSTALL) pilot-discovery pilot-agent kube-apiserver etcd crane ip iptables-nft haproxy
	@$(AS_ROOT) ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES) \
	    unshare --net --mount --pid --fork --kill-child --mount-proc \
	    $(PYTHON) -B -m pytest tests/istio_root $(PYTEST_FLAGS)

# The servers listen on every address, so the tests have a network of their own, and folders such as /certs. On a system that
# refuses user namespaces, run this with SUDO=sudo, or as root with OWN_NETWORK="unshare --net --mount".
OWN_NETWORK ?= $(if $(SUDO),$(AS_ROOT) unshare --net --mount,unshare --map-root-user --net --mount)
GATEWAY_ENVOYS := 1.39.3 $(ENVOY_PINNED)

test-envoy-gateway: build $(PACKAGES) ## Tests envoy/envoy-gateway with the real controller on a real API server (needs Go)
	@$(INSTALL) envoy-gateway kube-apiserver etcd crane
	@PYTHONPATH=$(CURDIR)/tests $(PYTHON) -B -c \
	    "from harness.tools import file; file('envoy-gateway-bootstrap', 'bootstrap.yaml.tpl')"
	@for version in $(GATEWAY_ENVOYS); do $(PYTHON) envoy/fetch.py --version $$version >/dev/null || exit; done
	@$(OWN_NETWORK) true || { echo "test-envoy-gateway needs a network namespace: allow user namespaces" \
	    "(kernel.apparmor_restrict_unprivileged_userns=0), or use SUDO=sudo"; exit 1; }
	@$(OWN_NETWORK) env PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -B -m pytest tests/envoy_gateway $(PYTEST_FLAGS)

test-release: build static-target $(PACKAGES) $(CARGO_TOOLS)/bin/rust-audit-info ## Tests the files of a release, and the steps that publish them (needs Go)
	@$(INSTALL) gh crane skopeo haproxy func-e
	@ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES) \
	    $(PYTHON) -B -m pytest tests/release $(PYTEST_FLAGS)

# Sigstore's servers have their real names and ports in the network namespace.
test-signatures: build $(PACKAGES) ## Tests `make sign` and how users verify, with a whole Sigstore of our own (builds it for 4 minutes once, needs Go)
	@$(INSTALL) cosign fulcio rekor-server timestamp-server tesseract crane
	@$(OWN_NETWORK) true || { echo "test-signatures needs a network namespace: allow user namespaces" \
	    "(kernel.apparmor_restrict_unprivileged_userns=0), or use SUDO=sudo"; exit 1; }
	@$(OWN_NETWORK) env PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -B -m pytest tests/signatures $(PYTEST_FLAGS)

generate: ## Writes the schema, tables, texts of errors and outputs of commands again: review them with git diff
	UPDATE_SCHEMA=1 UPDATE_README=1 INSTA_UPDATE=always cargo test --locked --test core
	TRYCMD=overwrite cargo test --locked --features cli --test cli

picture: build $(PACKAGES) prometheus ## Draws envoy/monitoring/incident.svg from Prometheus' data of a scripted incident
	@PROMETHEUS=$(abspath $(PROMETHEUS)) PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests $(PYTHON) -B tests/monitoring/picture.py

# Options of tests/bench/compare.py, as in make bench BENCH="--sizes 1024 --peers guard,signature". They measure a part.
BENCH ?=

bench: build $(PACKAGES) ## Measures the guard and other filters side by side, the worst unsigned request, and an allow list: BENCH
	@$(INSTALL) nginx h2load
	@ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests \
	    $(PYTHON) -B tests/bench/compare.py $(BENCH)
ifeq ($(BENCH),)
	@$(MAKE) --no-print-directory bench-calls
	@PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests $(PYTHON) -B tests/bench/requests.py
	cargo bench --locked --bench lookup
	RUSTFLAGS='--cfg sha2_backend="soft"' cargo bench --locked --target-dir target/soft --bench worst
endif

bench-calls: build $(PACKAGES) ## Measures each call from the module to Envoy, and each callback
	@$(INSTALL) nginx h2load
	@ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests \
	    $(PYTHON) -B tests/bench/calls.py

bench-footprint: build $(PACKAGES) ## Counts the instructions, cache lines and pages of code that a request runs
	@$(INSTALL) nginx valgrind
	@ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests \
	    $(PYTHON) -B tests/bench/footprint.py $(BENCH)

bench-size: build $(PACKAGES) ## Shows the size of the module by crate and by folder of src
	@PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests $(PYTHON) -B tests/bench/size.py

# Counts do not depend on the machine: the program has its own libc, and uses no instructions that only some processors have.
instructions: static-target ## Counts the instructions of requests, and fails if one has 5 % more than before: UPDATE=1 to accept
	@$(INSTALL) valgrind
	@RUSTFLAGS='--cfg sha1_backend="soft" --cfg sha2_backend="soft" --cfg curve25519_dalek_backend="serial"' UPDATE=$(UPDATE) PYTHONPATH=$(CURDIR)/tests \
	    CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUNNER='$(PYTHON) -B $(CURDIR)/tests/bench/instructions.py' \
	    cargo bench --quiet --locked --bench instructions --target $(STATIC) --target-dir target/soft

bench-edge: build $(PACKAGES) ## Measures a request through the whole of envoy/edge.yaml, and what each part of it costs
	@$(INSTALL) nginx h2load
	@ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests \
	    $(PYTHON) -B tests/bench/edge.py

bench-scale: build $(PACKAGES) ## Measures 1,000 endpoints, 50,000 prefixes, workers, starts, and 10,000 held requests
	@$(INSTALL) nginx h2load
	@for each in scale scale_memory scale_held; do \
	    ENVOY_VERSION=$(or $(ENVOY_VERSION),$(ENVOY_PINNED)) PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/tests \
	    $(PYTHON) -B tests/bench/$$each.py || exit; \
	done

envoy-versions:
	@printf '%s\n' $(ENVOY_VERSIONS)

# Built once: every version gets the same module.
test-envoys: build command $(PACKAGES) ## Tests the guard in every supported Envoy, or in the file ENVOY
	@set -e; for version in $(if $(ENVOY)$(ENVOY_PATH),$(ENVOY_PINNED),$(ENVOY_VERSIONS)); do \
	    $(MAKE) --no-print-directory -o build -o command test-envoy ENVOY_VERSION=$$version; \
	done

test-other-envoys: ENVOY_VERSIONS := $(ENVOY_OTHERS)
test-other-envoys: test-envoys ## The same without 1.40.0, which `make test` covers

# RUSTC_BOOTSTRAP lets the pinned compiler use the options that fuzzing needs. Without sanitizers, a target runs four
# times as often, and the fuzzed code is safe Rust. New inputs stay in target/.
fuzz: $(CARGO_TOOLS)/bin/cargo-fuzz ## Fuzzes every reader of bytes, FUZZ_SECONDS (60) for each target
	@set -e; for target in $(FUZZ_TARGETS); do \
	    echo "== $$target"; mkdir -p target/fuzz/corpus/$$target; \
	    RUSTC_BOOTSTRAP=1 PATH="$(abspath $(CARGO_TOOLS))/bin:$$PATH" cargo fuzz run --fuzz-dir tests/fuzz \
	        --sanitizer none --target-dir target/fuzz $$target \
	        target/fuzz/corpus/$$target tests/fuzz/corpus/$$target -- \
	        -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1; \
	done

mutants: $(CARGO_TOOLS)/bin/cargo-mutants ## Changes the deciding code in some 500 ways, and lists the changes that no native test sees
	nice env PATH="$(abspath $(CARGO_TOOLS))/bin:$$PATH" cargo mutants --output target/mutants $(MUTANTS_FLAGS)

timing: ## Measures whether the time of a comparison depends on where two codes differ
	cargo bench --locked --bench timing

soak: build $(PACKAGES) ## Sends SOAK_REQUESTS (100,000) of every kind, and changes modules under load in every supported Envoy
	@SOAK_REQUESTS=$(SOAK_REQUESTS) PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -B -m pytest -s tests/soak/test_soak.py $(PYTEST_FLAGS)
	@set -e; for version in $(if $(ENVOY)$(ENVOY_PATH),$(ENVOY_PINNED),$(ENVOY_VERSIONS)); do \
	    ENVOY_VERSION=$$version NEIGHBOURS_DELIVERIES=48 PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -B -m pytest -s \
	        tests/soak/test_updates.py tests/envoy/test_neighbours_bodies.py $(PYTEST_FLAGS); \
	done

lint: lint-code lint-workflows deny ## Checks formatting, lints, documentation, prose, workflows, and the licences of crates

lint-code: rust-target rust-components $(PACKAGES)
	cargo fmt --check
	cargo fmt --check --all --manifest-path tests/bench/peers/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --features cli -- -D warnings
	cargo clippy --locked --target $(WASM) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --features cli --document-private-items
	PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -m pyflakes envoy release tests
	PYTHONPATH=tests $(PYTHON) -B -m unittest -q tests/test_prose.py tests/test_tools.py
	$(PYTHON) -B tests/prose.py

# Offline, because a linter that asks the network finds something else each day.
lint-workflows: $(PACKAGES) $(ZIZMOR) ## Checks .github and .ci/run alone (needs Go, and apt-get of Debian or Ubuntu)
	@$(INSTALL) actionlint shellcheck
	PATH="$(CURDIR)/.tools/shellcheck:$$PATH" .tools/actionlint-*/actionlint
	$(ZIZMOR)/bin/zizmor --quiet --offline --persona auditor --strict-collection .github
	.tools/shellcheck/shellcheck .ci/run
	PYTHONPATH=$(CURDIR)/$(PACKAGES):tests $(PYTHON) -B -m unittest -q tests/test_workflows.py

# The last job of .github/workflows/test.yml: RESULTS are those of the other jobs, separated by spaces.
all-passed:
	@test "$(sort $(RESULTS))" = success || { echo "a job has not passed: the results are $(RESULTS)"; exit 1; }

# The crates of module, command line and tests, then those of the fuzzers, then those of the benchmark's peers.
DENY := PATH="$(abspath $(CARGO_TOOLS))/bin:$$PATH" cargo deny --locked
DENY_FUZZERS := $(DENY) --config deny.toml --manifest-path tests/fuzz/Cargo.toml
PEERS := tests/bench/peers/Cargo.toml
DENY_PEERS := $(DENY) --config deny.toml --manifest-path $(PEERS)

# cargo-deny reads the sources of all crates, also of those for other systems.
deny: $(CARGO_TOOLS)/bin/cargo-deny ## Checks licences, duplicates and sources of the crates by deny.toml
	@cargo fetch --quiet --locked && cargo fetch --quiet --locked --manifest-path tests/fuzz/Cargo.toml
	@cargo fetch --quiet --locked --manifest-path $(PEERS)
	$(DENY) --offline check --allow license-exception-not-encountered bans licenses sources
	$(DENY_FUZZERS) --offline check --allow unnecessary-skip --allow license-not-encountered bans licenses sources
	$(DENY_PEERS) --offline check --allow license-exception-not-encountered licenses sources

audit: $(CARGO_TOOLS)/bin/cargo-deny ## Checks the crates for security advisories (needs a network)
	$(DENY) check advisories
	$(DENY_FUZZERS) check advisories
	$(DENY_PEERS) check advisories

oldest-rust: oldest-toolchain ## Checks that the oldest supported Rust compiles the core and the command line
	cargo +$(RUST_OLDEST) check --locked --features cli --target-dir target/oldest-rust

platform-tools: ## Installs Istio, Envoy Gateway, kube-apiserver and others for their tests (7 minutes, needs Go)
	@$(INSTALL)

envoy: ## Gets Envoy 1.40.0 and prints where it is
	@$(PYTHON) envoy/fetch.py --version $(ENVOY_PINNED)

clean: ## Removes everything that was built and installed here
	rm -rf target .tools tests/.pytest_cache
	find envoy tests -name __pycache__ -prune -exec rm -rf {} +

# Installed next to its place and moved at the end, so that an interrupted installation is not used.
$(PACKAGES): tests/requirements.txt
	@echo "installing Python packages for tests and lints into $@"
	@rm -rf $@ $@.new
	@PIP_USER=0 PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet \
	    --disable-pip-version-check --require-hashes --target $@.new -r $<
	@touch $@.new && mv $@.new $@

# The wheel holds a program alone, so that every version of Python can install it.
$(ZIZMOR): tests/requirements-zizmor.txt
	@echo "installing zizmor into $@"
	@rm -rf $@ $@.new
	@PIP_USER=0 PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check \
	    --require-hashes --only-binary=:all: --no-deps --python-version 3.11 --target $@.new -r $<
	@touch $@.new && mv $@.new $@

$(CARGO_TOOLS)/bin/cargo-fuzz:
	@echo "installing cargo-fuzz into $(CARGO_TOOLS)"
	@cargo install --quiet --locked --root $(CARGO_TOOLS) cargo-fuzz@0.13.2

# Unoptimised, which takes a third of the time to build, and a check still ends within seconds.
$(CARGO_TOOLS)/bin/cargo-deny:
	@echo "installing cargo-deny into $(CARGO_TOOLS)"
	@CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --debug --locked --root $(CARGO_TOOLS) cargo-deny@0.20.2

# The reader of the list of crates in a module, of the authors of the format.
$(CARGO_TOOLS)/bin/rust-audit-info:
	@echo "installing rust-audit-info into $(CARGO_TOOLS)"
	@cargo install --quiet --locked --root $(CARGO_TOOLS) rust-audit-info@0.5.4

$(CARGO_TOOLS)/bin/cargo-mutants:
	@echo "installing cargo-mutants into $(CARGO_TOOLS)"
	@cargo install --quiet --locked --root $(CARGO_TOOLS) cargo-mutants@27.1.0

# The packages have no install scripts, and npm would not run one.
$(NODE_SDKS): tests/sdks/package.json tests/sdks/package-lock.json
	@echo "installing the senders' packages into $@ (400 MB)"
	@rm -rf $@ $@.new && mkdir -p $@.new && cp $^ $@.new
	@cd $@.new && npm ci --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error
	@touch $@.new && mv $@.new $@

$(PROMETHEUS_DEFAULT):
	@$(INSTALL) prometheus || \
	    { echo "or name a folder that holds prometheus and promtool 2.42 or later, as in PROMETHEUS=/usr/bin"; exit 1; }

prometheus: $(filter $(PROMETHEUS_DEFAULT),$(PROMETHEUS))
	@test -x "$(PROMETHEUS)/prometheus" && test -x "$(PROMETHEUS)/promtool" || \
	    { echo "PROMETHEUS=$(PROMETHEUS) does not hold both prometheus and promtool: name a folder that does"; exit 1; }

node:
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' \
	    2>/dev/null && npm --version >/dev/null 2>&1 || \
	    { echo "test-sdks needs Node.js 20.19 or later, and npm, in PATH"; exit 1; }

# For a command line that needs no library of the machine.
static-target: rust-target
	@rustup target list --installed | grep -qx $(STATIC) || \
	    { echo "installing Rust's target $(STATIC)"; rustup target add $(STATIC); }

rust-target:
	@cargo --version >/dev/null # rustup installs a missing toolchain first, and reports that
	@rustup target list --installed | grep -qx $(WASM) || \
	    { echo "installing Rust's target $(WASM)"; rustup target add $(WASM); }

oldest-toolchain:
	@rustup toolchain list | grep -q "^$(RUST_OLDEST)" || \
	    { echo "installing Rust $(RUST_OLDEST)"; rustup toolchain install $(RUST_OLDEST) --profile minimal; }

rust-components:
	@cargo --version >/dev/null
	@for each in clippy rustfmt; do \
	    rustup component list --installed | grep -q "^$$each" || \
	    { echo "installing Rust's $$each"; rustup component add $$each; }; \
	done
