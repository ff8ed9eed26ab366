# Everything that is done to this tree is a target here; `make` alone lists them.
# CI and the workflow file call these targets and nothing else.

SHELL := /bin/bash
GO    ?= go
BIN   ?= bin

# -E names the first instruction of the programs: see internal/procstate.
ENTRY   ?= substrate_entry
# VERSION is that of internal/version unless a release sets another.
LDFLAGS := -s -w $(if $(ENTRY),-E $(ENTRY)) $(if $(VERSION),-X substrate/internal/version.Version=$(VERSION))
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

.DEFAULT_GOAL := help
.PHONY: help build demo test test-vm race validate lint fmt bench fuzz docs cross clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

build: ## write bin/substrate and bin/substrate-shim, both static
	$(BUILD) -o $(BIN)/substrate ./cmd/substrate
	$(BUILD) -o $(BIN)/substrate-shim ./cmd/substrate-shim

demo: build ## record a command, replay it in a world, show what it changed
	@scripts/demo

test: build ## every test, as root and as an ordinary user
	@scripts/test $(PKG)

test-vm: build ## the tests that need a plain machine, in QEMU on Debian's own kernel
	@scripts/test-vm

race: ## the race detector over the packages that need no privilege
	@scripts/race

validate: build ## run every recipe of the documentation and print a table
	@scripts/validate

lint: ## gofumpt, go vet, staticcheck, and a check of the shell scripts
	@scripts/lint

fmt: ## format the Go files
	$(GO) tool -modfile=tools/go.mod gofumpt -w .

bench: ## measure against bash and bwrap and write the table of docs/performance.md
	@scripts/bench

fuzz: ## fuzz each target for FUZZTIME (10s) and run the long random tests
	@scripts/fuzz

docs: ## check the links and the recipes of the documentation
	@scripts/docs

cross: ## everything for arm64; trace and fsdiff for macOS
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o /dev/null ./cmd/substrate
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -o /dev/null ./cmd/substrate-shim
	CGO_ENABLED=0 GOARCH=arm64 $(GO) vet ./...
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) vet ./trace ./fsdiff
	CGO_ENABLED=0 GOOS=darwin GOARCH=amd64 $(GO) build ./trace ./fsdiff

clean: ## remove what the targets above made
	rm -rf -- bin dist
