# Hikyaku. `make run` and `make test` are all that a fresh machine needs (Debian, a Rust toolchain, root or sudo).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Outside the checkout, so that RocksDB is compiled once for all checkouts.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/hikyaku/target
# Everything is built in one profile, with one selection of packages: another selection has other features, and another RocksDB.
CARGO_FLAGS := --release --workspace --locked
BIN := $(CARGO_TARGET_DIR)/release/hikyaku

.PHONY: help run cluster build test soak lint bench sim proto tools-build tools-test tools-bench

help:
	@echo 'make run      build, and serve a demonstration domain on loopback ports'
	@echo 'make cluster  build, and run three nodes of one cluster on loopback addresses'
	@echo 'make test     everything that CI runs'
	@echo 'make lint     format, lints, dependency directions, licences, sizes'
	@echo 'make bench    measurements, against peers in the same run'
	@echo 'make sim      the simulator, with faults'
	@echo 'make soak     the tests that take long'

tools-build:
	@tests/tools build
	@tests/own_target

tools-test: tools-build
	@tests/tools test

tools-bench: tools-build
	@tests/tools bench

build: tools-build
	@echo 'building (the first time with RocksDB: allow half an hour on two cores)'
	@cargo build $(CARGO_FLAGS)

run: build
	@exec $(BIN) serve --demo

# Three nodes of one cluster, until Ctrl-C.
cluster: build
	@exec node/src/demo/cluster $(BIN) $(CURDIR)/hikyaku-cluster

test: tools-test
	@tests/run

soak: tools-test build
	@HIKYAKU_SOAK=1 HIKYAKU_BIN=$(BIN) /usr/bin/python3 -m pytest tests

lint: tools-build
	@tests/lint

bench: tools-bench build
	@HIKYAKU_BIN=$(BIN) /usr/bin/python3 tests/bench/run.py

sim: build
	@$(CARGO_TARGET_DIR)/release/sim --runs 20

# Makes node/src/admin/api.rs and what stands in proto/src from the .proto files.
proto:
	@CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/proto cargo run -q --manifest-path proto/generate/Cargo.toml
