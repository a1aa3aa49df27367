# Commands of the project. `make run` and `make test` need Rust, gcc, make, Python and, for what is missing, apt.

SHELL := /bin/sh
.DEFAULT_GOAL := build
.PHONY: build run test check bench soak setup-build setup-test

CARGO ?= cargo
CAIRN_VENV ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cairn-venv
export CAIRN_VENV

# s3s declares a newer compiler than the one it needs.
S3S_RUST_MINOR := 96
RUST_MINOR := $(shell rustc --version | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
FLAGS := $(shell [ "$(RUST_MINOR)" -ge $(S3S_RUST_MINOR) ] 2>/dev/null || echo --ignore-rust-version)

setup-build:
	@deploy/setup-build.sh build

setup-test:
	@deploy/setup-build.sh test
	@deploy/setup-clients.sh "$(CAIRN_VENV)"

# The release binary.
build: setup-build
	$(CARGO) build --locked --release $(FLAGS) -p cairn-server

# Serves ./data on 127.0.0.1:9000 in the foreground. The first time it prints the credentials that it made and a first
# command to try. SERVE takes flags: make run SERVE='--s3-listen 0.0.0.0:9000'
run: build
	@$(CARGO) run --locked --quiet --release $(FLAGS) -p cairn-server -- serve $(SERVE)

# Every test, through the real binary too. TEST takes arguments: make test TEST='-p cairn-crypto'
test: setup-build setup-test
	@deploy/run-tests.sh "$(CARGO)" "$(FLAGS)" $(TEST)

# The longer variants of the crash tests, also of servers that replicate to each other.
soak: setup-build setup-test
	@CAIRN_SOAK=1 deploy/run-tests.sh "$(CARGO)" "$(FLAGS)" -p cairn-tests --test crash --test model --test replication_remote --test replication_backfill $(TEST)

# Throughput, latency, CPU and memory beside the floor of this machine, and what is aimed at. BENCH takes flags:
# make bench BENCH='--only list --list-keys 1000000'
bench: build
	$(CARGO) run --locked --quiet --release $(FLAGS) -p cairn-tests --bin bench -- $(BENCH)

# Format, lints and documentation with warnings as errors, and what the dependencies are allowed to be.
check: setup-build
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked $(FLAGS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked $(FLAGS) --workspace --no-deps
	@deploy/check-dependencies.sh "$(CARGO)"
