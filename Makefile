# Fairway. `make help` lists what there is.

SHELL       := /bin/bash
BIN         := $(CURDIR)/.bin
BUF         := $(BIN)/buf
LINT        := $(BIN)/golangci-lint
BUF_VERSION  := v1.72.0
LINT_VERSION := v2.15.0
PROTOVALIDATE_VERSION := v1.2.2

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X fairway/pkg/version.stamp=$(VERSION)

# Static binaries; and one compilation of the dependencies serves build, vet, lint and the binaries of the e2e tests.
export CGO_ENABLED := 0
# The race detector needs cgo and a C compiler; without one the tests still run.
GOTEST := $(if $(shell command -v $${CC:-gcc} 2>/dev/null),CGO_ENABLED=1 go test -race,go test)
FUZZTIME ?= 2s
FUZZROUND ?= 0

.DEFAULT_GOAL := help
.PHONY: help build test short lint generate drift breaking fuzz e2e e2e-node demo bench soak sim hangups microbench rules docs clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/fairway and bin/fairway-dataplane, static, version stamped
	go build -ldflags '$(LDFLAGS)' -o bin/fairway .
	go build -ldflags '$(LDFLAGS)' -o bin/fairway-dataplane ./dataplane/cmd/fairway-dataplane

# The end-to-end tests mostly wait; so they start first, beside as many others as there are processors.
test: ## everything: unit, in-process and end-to-end tests with real processes
	$(GOTEST) -count=1 -timeout 15m -p $$(($$(getconf _NPROCESSORS_ONLN) + 1)) ./deploy/e2e ./...
	go test -count=1 -timeout 5m ./dataplane/internal/sim ./dataplane/internal/limit/fleet

short: ## what runs without starting processes, quickly
	go test -short -timeout 5m ./...

e2e: ## only the end-to-end tests, with their figures
	go test -count=1 -v -timeout 10m ./deploy/e2e/...

NODE_DIR := .build/node
e2e-node: ## the official Node SDKs against Fairway and every provider (needs node and npm)
	@for tool in node npm; do command -v $$tool >/dev/null || { echo "e2e-node needs $$tool, which is not here: install Node.js 20 or newer"; exit 1; }; done
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { echo "e2e-node needs Node.js 20 or newer; this is $$(node --version)"; exit 1; }
	@mkdir -p $(NODE_DIR) && cp deploy/e2e/node/.npmrc deploy/e2e/node/*.json deploy/e2e/node/*.mjs $(NODE_DIR)/
	@cd $(NODE_DIR) && { cmp -s package-lock.json node_modules/.installed || \
	  { npm ci --ignore-scripts --no-audit --no-fund && cp package-lock.json node_modules/.installed; }; } || \
	  { echo 'e2e-node needs the packages of deploy/e2e/node/package.json, which npm could not install'; exit 1; }
	FAIRWAY_E2E_NODE=$(CURDIR)/$(NODE_DIR) go test -count=1 -v -timeout 20m -run '^TestNode$$' ./deploy/e2e

demo: ## the whole of Fairway on this machine, with a fake provider; ctrl-c ends it
	go run . demo

bench: ## side by side with nginx, as processes; BENCH='-quick' or '-only request' (needs nginx)
	go run ./deploy/bench $(BENCH)

soak: ## 20 minutes of mixed traffic, hang-ups and faults, with plots and a verdict; SOAK='-for 60s' for less
	go run ./deploy/bench soak $(SOAK)

sim: ## the simulated fleet, in virtual time: tables, charts and bars of docs/balancing.md; SIM='-only failures' for one study
	go run ./dataplane/cmd/fairway-sim -page docs/balancing.md -images docs/images $(SIM)

hangups: ## 100,000 clients that leave in the middle of a request; nothing may be left of them
	FAIRWAY_HANGUPS=100000 go test -count=1 -v -run TestTrap11HangUpsLeakNothing ./dataplane/internal/gateway

microbench: ## Go benchmarks: hot path, selection, state sync to ten proxies
	go test -run '^$$' -bench . -benchmem ./pkg/... ./controlplane/... ./dataplane/...
	go test -run '^$$' -bench . -benchtime 200x ./deploy/e2e/...

lint: $(LINT) $(BUF) .build/protovalidate ## golangci-lint and buf lint
	$(LINT) run ./...
	$(BUF) lint
	$(BUF) format --diff --exit-code

ALERTS := deploy/prometheus
rules: ## the alerts: promtool checks and tests them (needs promtool, of Debian's package prometheus)
	@command -v promtool >/dev/null || { echo "rules needs promtool, which is not here: install Debian's package prometheus (apt-get install --no-install-recommends prometheus)"; exit 1; }
	promtool check config $(ALERTS)/prometheus.yml
	promtool check rules $(ALERTS)/fairway.rules.yml
	promtool test rules $(ALERTS)/fairway.rules.test.yml

generate: $(BUF) .build/protovalidate ## Go from proto/, reference pages from the code
	$(BUF) generate
	$(MAKE) --no-print-directory docs

docs: ## the CLI and configuration reference in docs/reference, docs/providers.md and docs/metrics.md
	go test -count=1 -run '^(TestReference|TestProviders|TestMetrics)$$' . -args -update

drift: generate ## fail when what is generated is not what is committed
	@git add --intent-to-add pkg/gen docs/reference docs/providers.md docs/metrics.md
	@git diff --exit-code -- pkg/gen docs/reference docs/providers.md docs/metrics.md || { echo 'generated files differ: run make generate and commit'; exit 1; }

# Against the commit before, or BASE.
BASE ?= $(shell git rev-parse -q --verify HEAD~1 2>/dev/null)
breaking: $(BUF) .build/protovalidate ## fail when the contract breaks for what runs already
	@if [ -z "$(BASE)" ]; then echo 'breaking: no commit to compare with'; exit 0; fi; \
	rm -rf .build/base && mkdir -p .build/base/.build && git archive $(BASE) proto buf.yaml | tar -x -C .build/base && \
	cp -r .build/protovalidate .build/base/.build/ && $(BUF) breaking --against .build/base

# At the end of its time Go's fuzzer may fail with its own deadline and no input at all: that alone is tried again.
# A round begins with another package each day, so that one which FUZZROUND cuts short comes to all of them in turn.
fuzz: ## every fuzz target for FUZZTIME (2s); no package is begun after FUZZROUND seconds (0 = all are)
	@set -e; mkdir -p .build/fuzz; out=$(CURDIR)/.build/fuzz/out; began=$$(date +%s); \
	dirs=$$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz' | xargs -n1 dirname | sort -u); \
	n=$$(echo "$$dirs" | wc -l); first=$$(( $$(date +%s) / 86400 % n + 1 )); \
	for dir in $$(echo "$$dirs" | tail -n +$$first) $$(echo "$$dirs" | head -n $$((first - 1))); do \
	  if [ $(FUZZROUND) -gt 0 ] && [ $$(( $$(date +%s) - began )) -gt $(FUZZROUND) ]; then echo "the round ends before ./$$dir"; break; fi; \
	  go test -c -fuzz=. -o .build/fuzz/fuzz.test ./$$dir; \
	  for t in $$(cat $$dir/*_test.go | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p'); do \
	    for try in 1 2 3; do \
	      echo "fuzz $$t in ./$$dir"; \
	      if (cd $$dir && $(CURDIR)/.build/fuzz/fuzz.test -test.run '^$$' -test.fuzz "^$$t\$$" -test.fuzztime $(FUZZTIME) \
	        -test.fuzzminimizetime 10x -test.fuzzcachedir $(CURDIR)/.build/fuzz/cache) >$$out 2>&1; then tail -n 2 $$out; break; fi; \
	      cat $$out; \
	      if [ $$try = 3 ] || grep -q 'Failing input' $$out || ! grep -q '^    context deadline exceeded$$' $$out; then exit 1; fi; \
	    done; \
	  done; done

clean: ## remove what was built
	rm -rf bin .build

$(BUF):
	GOBIN=$(BIN) go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)

$(LINT):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

# The validation rules' own .proto, out of the Go module that carries it.
.build/protovalidate:
	@mkdir -p $@/buf/validate
	@dir=$$(cd /tmp && go mod download -json github.com/bufbuild/protovalidate@$(PROTOVALIDATE_VERSION) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'); \
	install -m 0644 "$$dir/proto/protovalidate/buf/validate/validate.proto" $@/buf/validate/validate.proto
