# The commands of the project; CI calls nothing else. `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run build release lint test soak bench failover-bench bench-peers images kind-up kind-down e2e demo audit fix \
	crds chart tools-rust tools-disk tools-clients

# Where the build goes: inside the clone unless said otherwise.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Tests are built in one profile, so that nothing is compiled twice.
TESTED := $(CARGO_TARGET_DIR)/debug
RELEASE := $(CARGO_TARGET_DIR)/release
# What `make images` puts into the images: what is tested, or with PROFILE=release what is for use.
PROFILE ?= dev
IMAGED := $(if $(filter release,$(PROFILE)),$(RELEASE),$(TESTED))
# Scenarios and options of `make bench`: BENCH="senders-64 --rounds 3", BENCH=--help.
BENCH ?=
# Where `make bench-peers` keeps the systems that it measures beside ours.
PEERS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/reliablequeue/peers
# What `make run` starts: its port for clients, its replicas, its directory.
PORT ?= 8081
REPLICAS ?= 2
DATA ?= $(CURDIR)/cluster

# The log is tested by itself: with its simulated disk it is another build, of which all above it would need another too.
UNIT_TESTS := cargo test --locked -p rq-log && cargo test --locked --workspace --exclude rq-log --exclude rq-tests

# $(call stage,NAME,COMMAND): runs a command and prints how long it took.
define stage
@echo "=== $(1)"; started=$$SECONDS; $(2); status=$$?; \
	echo "=== $(1): $$((SECONDS - started)) s"; exit $$status
endef

help: ## List the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 24

run: release ## Start two replicas behind 127.0.0.1:8081 that create topics on first use; Ctrl-C stops them
	@exec $(RELEASE)/rq local up --foreground --replicas $(REPLICAS) --base-port $(PORT) --data $(DATA) --auto-create --allow-unsafe-filesystem

release: tools-rust ## Build rq-broker, rq and rq-operator for use
	@cargo build --release --locked -p rq-broker -p rq-cli -p rq-operator

build: tools-rust ## Build rq-broker, rq and rq-operator as they are tested
	$(call stage,build,cargo build --locked -p rq-broker -p rq-cli -p rq-operator)

lint: tools-rust ## Check formatting and lints; changes nothing
	$(call stage,format,cargo fmt --all --check)
	$(call stage,clippy,cargo clippy --locked --workspace --all-targets --all-features -- -D warnings)

test: build tools-disk tools-clients ## Run every suite with few rounds
	$(call stage,unit and property tests,$(UNIT_TESTS))
	$(call stage,model and simulation of replication,cargo test --locked -p rq-tests --test model --test simulation)
	$(call stage,process tests: crash$(,) power loss$(,) failing disks,cargo test --locked -p rq-tests --lib --test process)
	$(call stage,official clients,cargo test --locked -p rq-tests --test official_clients)
	$(call stage,queues on Kubernetes,tests/kind/run.sh few)

soak: build tools-disk tools-clients ## Run every suite with many rounds; takes hours
	$(call stage,unit and property tests,export PROPTEST_CASES=20000 RQ_FUZZ_SECONDS=600; $(UNIT_TESTS))
	$(call stage,model and simulation of replication,RQ_SOAK=1 cargo test --locked -p rq-tests --test model --test simulation)
	$(call stage,process tests,RQ_SOAK=1 cargo test --locked -p rq-tests --lib --test process)
	$(call stage,official clients,RQ_SOAK=1 cargo test --locked -p rq-tests --test official_clients)

bench: release ## Measure against a server that stores nothing; prints the table of docs/performance.md
	@cargo bench --locked -p rq-tests --bench broker -- $(BENCH)

failover-bench: release ## Measure how long a client waits when the master is lost: on this machine, then on Kubernetes (RQ_ROUNDS)
	@cargo bench --locked -p rq-tests --bench broker -- failover-kill --rounds 50
	@cargo bench --locked -p rq-tests --bench broker -- failover-freeze failover-switch --rounds 10
	@$(MAKE) --no-print-directory kind-up PROFILE=release
	$(call stage,failover on Kubernetes,tests/kind/run.sh bench)

bench-peers: release ## Measure Apache RocketMQ 5 and NATS JetStream beside ours, under the same load
	@tests/peers/install.sh "$(PEERS)"
	@cargo bench --locked -p rq-tests --bench broker -- --peers "$(PEERS)" $(BENCH)

images: $(if $(filter release,$(PROFILE)),release,build) ## Make the images reliablequeue/broker:dev and reliablequeue/operator:dev (PROFILE=release)
	$(call stage,docker,tests/kind/docker.sh)
	$(call stage,images,images/build.sh "$(IMAGED)" dev)

kind-up: images ## Start a Kubernetes cluster in Docker, named rq, with the images and the operator in it
	$(call stage,image of the official Go client,tests/clients/install.sh go && images/go-client.sh dev)
	$(call stage,cluster,tests/kind/cluster.sh up)
	@tests/kind/cluster.sh load $$(docker image ls --format '{{.Repository}}:{{.Tag}}' --filter reference='reliablequeue/*:dev')
	@tests/kind/install-operator.sh

kind-down: ## Remove that cluster
	@tests/kind/cluster.sh down

# Another cluster than ours is taken as it is: with the images where its nodes find them, and the operator in it.
e2e: $(if $(KUBECONFIG),build,kind-up) ## Test queues on Kubernetes, all of it: on the cluster of kind-up, or the one that KUBECONFIG names
	$(call stage,queues on Kubernetes,tests/kind/run.sh all)

demo: kind-up ## Show a failover on Kubernetes: a queue under load, its master killed, and what its clients saw
	$(call stage,demo,tests/kind/demo.sh "$(IMAGED)")

crds: tools-rust ## Write the CRDs into crds/ and into the chart, from the types in operator/core
	@cargo run --quiet --locked -p rq-operator-core --bin crds

chart: ## Lint and render the chart of the operator
	@tests/kind/chart.sh

audit: tools-rust ## Check licences, sources and advisories of the dependencies (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 1; }
	@cargo deny check

fix: tools-rust ## Format, and apply what clippy can mend by itself
	@cargo fmt --all
	@cargo clippy --workspace --all-targets --all-features --fix --allow-dirty --allow-staged

tools-rust:
	@command -v cargo >/dev/null || { echo "Rust is missing: install rustup, then run this again (the toolchain is pinned in rust-toolchain.toml)"; exit 1; }

# What the tests on real disks need besides the toolchain.
tools-disk:
	@missing=; for tool in strace:strace mkfs.ext4:e2fsprogs losetup:mount ip:iproute2 iptables:iptables nsenter:util-linux; do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
	if [ -n "$$missing" ]; then echo "installing$$missing"; \
		apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing >/dev/null; fi

tools-clients:
	@tests/clients/install.sh

, := ,
