# `make demo` and `make test` are all that is needed on a fresh Debian 12 with make and Rust (https://rustup.rs).

TARGET := $(or $(CARGO_TARGET_DIR),target)
WEB := web/index.html web/package.json web/package-lock.json web/tsconfig.json web/vite.config.ts web/compress.mjs \
  $(shell find web/src web/public -type f 2>/dev/null)
.DEFAULT_GOAL := help
.PHONY: help demo test test-clients build web lint fmt audit bench fuzz soak clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## build, start the server with two cameras, print a link; VIDEO=FILE or RUSHES_FOOTAGE=DIR for real pictures
	@deploy/install.sh demo
	@$(MAKE) --no-print-directory web
	cargo build --locked -p rushes -p rushes-camera
	@exec $(TARGET)/debug/rushes demo $(if $(VIDEO),--video "$(VIDEO)")

test: ## install what is needed, build, and pass everything
	@deploy/install.sh test
	@deploy/test.sh

test-clients: ## a stream's life by all of AWS's SDKs that are here, also those that are slow to build (Rust; Java, if Maven is there)
	@deploy/install.sh test
	@$(MAKE) --no-print-directory web
	cargo build --locked -p rushes -p rushes-camera
	python=$$(deploy/venv.sh) && RUSHES_CLIENTS=1 RUSHES_BIN=$(TARGET)/debug/rushes $$python -m pytest tests/test_aws_clients.py

build: ## target/release/rushes
	@deploy/install.sh build
	@$(MAKE) --no-print-directory web
	cargo build --locked --release -p rushes

web: web/dist/index.html ## the console's pages, which the binary carries

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	npm --prefix web ci --no-audit --no-fund
	@touch $@

web/dist/index.html: web/node_modules/.package-lock.json $(WEB)
	npm --prefix web run --silent build
	@touch $@

lint: web ## formatting, clippy, licences, types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	python3 deploy/licences.py
	npm --prefix web run --silent typecheck

fmt: ## format the Rust code
	cargo fmt --all

audit: ## advisories, licences and sources by cargo-deny
	@command -v cargo-deny >/dev/null || { echo "first: cargo install --locked cargo-deny"; exit 1; }
	cargo deny --locked check

bench: ## the figures: a table and target/bench.json
	@deploy/install.sh test
	@$(MAKE) --no-print-directory web
	cargo build --locked --release -p rushes -p rushes-camera -p rushes-log -p video --bins --examples
	cargo install --locked --path tests/bench/kload --root $(TARGET)/bench-tools
	cargo install --locked --version 0.7.0 ferrokinesis --root $(TARGET)/bench-tools
	npm --prefix tests/bench ci
	python=$$(deploy/venv.sh) && $$python tests/bench/bench.py $(TARGET)/release/rushes \
	  $(TARGET)/release/examples/logbench $(TARGET)/bench.json --tools $(TARGET)/bench-tools/bin --nginx $$(deploy/nginx.sh) \
	  --mediamtx $$(deploy/mediamtx.sh) $(BENCH)

fuzz: ## a minute of each fuzz target; SECONDS=N for another time, FUZZ=NAME for one
	@deploy/install.sh build
	@deploy/fuzz.sh $(or $(SECONDS),60) $(FUZZ)

soak: ## hours: a thousand cycles of load, kill -9, restart, compare; simulated histories by the hundred thousand
	@deploy/install.sh test
	@$(MAKE) --no-print-directory web
	cargo build --locked -p rushes -p rushes-camera
	RUSHES_SOAK=1 cargo test --locked --release -p rushes-log --test crash -- --nocapture
	RUSHES_SOAK=1 cargo test --locked --release -p rushes-log --lib -- --nocapture sim
	python=$$(deploy/venv.sh) && RUSHES_SOAK=1 RUSHES_BIN=$(TARGET)/debug/rushes $$python -m pytest tests/test_crash.py tests/test_resharding.py

clean: ## remove everything that was built
	cargo clean
	rm -rf web/dist web/node_modules
