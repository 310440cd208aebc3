# The commands people type. Each installs what it needs and says what it is doing.
#
#   make demo     the main job on real input, step by step
#   make test     everything that must hold
#   make bench    measure; writes BENCHMARKS.md
#   make fuzz     fuzz what parses a workload's bytes, a minute each (FUZZ_SECONDS=5: so long)
#   make eval     score the privacy router on labelled requests; writes EVALUATION.md
#   make lint     fmt, clippy, rustdoc, licences
#   make build    the three binaries in target/dist

SHELL := /bin/bash
.DEFAULT_GOAL := build
.PHONY: build release setup demo test bench eval fuzz lint fmt clean

setup:
	@scripts/setup.sh

build: setup
	@scripts/build.sh debug

release: setup
	@scripts/build.sh release

demo: build
	@scripts/demo.sh

# What the tests drive is fetched while they are compiled.
test: setup
	@scripts/test-tools.sh & tools=$$!; scripts/build.sh debug tests && wait $$tools
	@scripts/test.sh

bench: release
	@scripts/bench.sh

fuzz: setup
	@scripts/fuzz.sh $(or $(FUZZ_SECONDS),60)

eval: setup
	@scripts/eval.sh

lint: setup
	@scripts/lint.sh

fmt:
	cargo fmt --all

clean:
	cargo clean
