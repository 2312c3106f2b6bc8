# The commands of everyday work; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run test lint bench eval clean

help: ## List these commands
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -nE 's/^([a-z]+):.*## (.*)/make \1  \2/p' $(MAKEFILE_LIST)

setup: ## Install what is missing to build and run (Rust, Postgres, C compiler)
	@.ci/setup.sh

# Where rustup puts Rust, whether or not this shell has learnt of it.
export PATH := $(PATH):$(HOME)/.cargo/bin

# What is built here runs here: Whisper may use all that this processor can do (.cargo/config.toml).
run bench: export GGML_NATIVE = ON

run: setup ## Build the server and run it with demonstration data
	cargo build --release -p api
	target/release/crm serve --demo

test: setup ## Run all tests, on a Postgres of their own
	cargo test --workspace

# The licence and advisory checks run where their tools and data are on the machine: nothing is fetched here.
lint: ## Check formatting, clippy's advice, containers, dependencies
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	.ci/check-containers.sh
	@if [ -f deny.toml ] && command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; \
		else echo 'lint: skipped: cargo deny (not installed, or no deny.toml)'; fi
	@if [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-db" ] && command -v cargo-audit >/dev/null; then cargo audit --no-fetch; \
		else echo 'lint: skipped: cargo audit (not installed, or no advisories on this machine)'; fi

bench: setup ## Run the benchmarks
	cargo bench -p tests --bench crm

eval: setup ## Measure how well searches find, on the labelled set in tests/eval
	cargo bench -p tests --bench eval

clean: ## Remove everything that was built
	cargo clean
