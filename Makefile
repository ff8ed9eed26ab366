# Everything that is done to this tree is a target here; `make` alone lists them, with the time that
# each takes on two processors once the caches are warm. CI calls these targets and nothing else.

SHELL := /bin/bash
GO    ?= go
BIN   ?= bin

MODULE := $(shell sed -n 's/^module //p' go.mod)

# -E names the first instruction of the programs: see internal/procstate.
ENTRY   ?= substrate_entry
# VERSION is that of internal/version unless a release sets another.
LDFLAGS := -s -w $(if $(ENTRY),-E $(ENTRY)) $(if $(VERSION),-X $(MODULE)/internal/version.Version=$(VERSION))
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

.DEFAULT_GOAL := help
.PHONY: help build check demo test test-vm race validate lint fmt bench fuzz docs cross clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

build: ## write bin/substrate and bin/substrate-shim, both static (5 s)
	$(BUILD) -o $(BIN)/substrate ./cmd/substrate
	$(BUILD) -o $(BIN)/substrate-shim ./cmd/substrate-shim

check: ## build, vet, format, and the tests that need no privilege (30 s)
	@scripts/check

test: build ## every test, as root and as an ordinary user, installing what is missing (10 min)
	@scripts/test $(PKG)

test-vm: build ## the tests that need a plain machine, in QEMU: amd64 and arm64 (6 min)
	@scripts/test-vm

lint: ## gofumpt, go vet, staticcheck, and a check of the shell scripts (20 s)
	@scripts/lint

fmt: ## format the Go files (2 s)
	$(GO) tool -modfile=tools/go.mod gofumpt -w .

demo: build ## record a command, replay it in a world, show what it changed (5 s)
	@scripts/demo

validate: build ## run every recipe of the documentation and print a table (1 min)
	@scripts/validate

docs: ## check the links and the recipes of the documentation (1 s)
	@scripts/docs

race: ## the race detector over the packages that need no privilege; needs a C compiler (2 min)
	@scripts/race

fuzz: ## fuzz each target for FUZZTIME (10s) and run the long random tests (15 min)
	@scripts/fuzz

bench: ## measure against bash and bwrap and write the table of docs/performance.md (10 min)
	@scripts/bench

cross: ## build and vet everything for arm64, and trace and fsdiff for macOS (10 s)
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o /dev/null ./cmd/substrate
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o /dev/null ./cmd/substrate-shim
	CGO_ENABLED=0 GOARCH=arm64 $(GO) vet ./...
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) vet ./trace ./fsdiff
	CGO_ENABLED=0 GOOS=darwin GOARCH=amd64 $(GO) build ./trace ./fsdiff

clean: ## remove what the targets above made
	rm -rf -- bin dist
