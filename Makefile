SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c

VERSION := $(shell git describe --always --dirty 2>/dev/null)
LINK    := -ldflags '-X keygate/shared/build.Version=$(VERSION)'
BUILD   := CGO_ENABLED=0 go build -buildvcs=auto -trimpath $(LINK)

# Runs a command with one PostgreSQL and one Redis beside it.
SERVERS := go run ./tests/servers/run --

# Tools at fixed versions, and out of go.mod, because the programs do not need them.
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := go run golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Overridden like this: make fuzz FUZZTIME=5m
FUZZTIME    ?= 30s
BENCH       ?= .
BENCHTIME   ?= 1s
REQUESTS    ?= 5000
CONCURRENCY ?= 200
ROUNDS      ?= 7

.DEFAULT_GOAL := help
.PHONY: help build proxy writer standalone loadtest run servers servers-all test test-all check format vet lint vulnerabilities arch \
	race fuzz bench load compare curves clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: proxy writer standalone loadtest ## build bin/proxy, bin/writer, bin/standalone and bin/loadtest, all static

proxy writer:
	$(BUILD) -o bin/$@ ./$@
standalone:
	$(BUILD) -o bin/$@ ./deploy/standalone
loadtest:
	$(BUILD) -o bin/$@ ./tests/load

run: standalone ## run everything in one process, on a SQLite file in ./data; needs Go alone
	@exec bin/standalone

servers:
	@tests/servers/install.sh

servers-all:
	@tests/servers/install.sh all

test: servers ## run the tests, on a PostgreSQL and a Redis of their own, which root on Debian gets installed
	$(SERVERS) go test -timeout 8m ./...

test-all: servers-all ## run the tests, with those that take long or need more (build tag long)
	$(SERVERS) go test -timeout 40m -tags long ./...

check: format vet lint vulnerabilities arch ## check format, vet, staticcheck, known vulnerabilities, the shape of the tree

format:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "Run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

vet:
	go vet -tags long ./...

lint:
	$(STATICCHECK) -tags long ./...

# Without a network there is no list of vulnerabilities to compare with, which is no finding, but is said.
vulnerabilities:
	@echo '$(GOVULNCHECK) ./...'; \
	if output=$$($(GOVULNCHECK) ./... 2>&1); then echo "$$output"; \
	elif grep -q 'fetching vulnerabilities:' <<<"$$output"; then \
		echo "$$output"; echo "NOT CHECKED for known vulnerabilities: their database cannot be reached from here."; \
	else echo "$$output"; exit 1; fi

arch:
	go test ./tests/arch

race: servers ## run the tests under the race detector; needs a C compiler
	$(SERVERS) go test -race -timeout 20m ./...

fuzz: servers ## run each fuzz target for FUZZTIME (30s)
	@go test -list '^Fuzz' ./... | awk '/^Fuzz/ { names[n++] = $$1 } \
		/^ok/ { for (i = 0; i < n; i++) print $$2, names[i]; n = 0 }' | \
	while read -r package target; do \
		echo "$$package $$target"; \
		$(SERVERS) go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "$$package" </dev/null; \
	done

bench: servers ## run the benchmarks that match BENCH (all) for BENCHTIME (1s; 1x is once) each
	$(SERVERS) go test -run '^$$' -bench '$(BENCH)' -benchtime '$(BENCHTIME)' ./...

load: standalone loadtest ## send REQUESTS (5000) on CONCURRENCY (200) connections to a standalone of its own
	@data=$$(mktemp -d); \
	bin/standalone --data-dir "$$data" --proxy-listen 127.0.0.1:18080 --proxy-admin-listen 127.0.0.1:19080 \
		--writer-listen 127.0.0.1:18081 --writer-admin-listen 127.0.0.1:19081 >"$$data/log" 2>&1 & \
	server=$$!; \
	trap 'kill $$server 2>/dev/null || true; wait $$server || true; rm -rf "$$data"' EXIT; \
	until (: >/dev/tcp/127.0.0.1/18080) 2>/dev/null; do \
		kill -0 $$server 2>/dev/null || { cat "$$data/log"; exit 1; }; sleep 0.1; \
	done; \
	bin/loadtest --target http://127.0.0.1:18080 --key-file "$$data/demo-key" \
		--proxy-admin http://127.0.0.1:19080 --writer-admin http://127.0.0.1:19081 \
		--requests $(REQUESTS) --concurrency $(CONCURRENCY)

compare: proxy writer standalone loadtest servers ## measure keygate beside FastAPI, nginx and HAProxy, in ROUNDS (7); takes ten minutes
	go run $(LINK) ./tests/compare -rounds $(ROUNDS)

curves: proxy writer servers ## measure throughput, p99 and memory against sizes, into docs/curves; takes ten minutes
	go run $(LINK) ./tests/curves

clean: ## remove what was built; ./data stays
	rm -rf bin
