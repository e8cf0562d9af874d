#!/usr/bin/env bash
# A Kubernetes cluster in Docker for the tests: one control plane and three workers. Prints the time of each stage.
# Usage: cluster.sh up|wire|down|load IMAGE... [--kubeconfig FILE]
#   up    makes the cluster, or starts and mends the one that is there; needs root where Docker is missing
#   wire  lays the pod network again: after a node came back with another address
#   load  puts images of this Docker into the workers
#   down  removes the cluster, its volumes, and its entry in the kubeconfig
# The kubeconfig is kind's: $KUBECONFIG or ~/.kube/config, context kind-rq. $CLUSTER is another name than rq.
set -euo pipefail
# shellcheck source=tests/kind/environment.sh
source "$(dirname "$0")/environment.sh"
# shellcheck source=tests/kind/network.sh
source "$KIND_TESTS/network.sh"

READY_SECONDS=240

cluster_exists() { kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; }

config() { # NODE_IMAGE
    cat "$KIND_TESTS/kind.yaml"
    [[ $1 != reliablequeue/kind-node:* ]] || cat "$KIND_TESTS/node-image/kind-extra.yaml"
}

create() { config "$1" | kind create cluster --name "$CLUSTER" --image "$1" --config -; }

# The nodes of a cluster that was there before Docker ended, or that a test left paused or killed.
start() {
    local node
    for node in $(kind get nodes --name "$CLUSTER"); do
        [ "$(docker inspect -f '{{.State.Status}}' "$node")" != running ] || continue
        docker unpause "$node" >/dev/null 2>&1 || docker start "$node" >/dev/null
        woken+=("$node")
    done
    kind export kubeconfig --name "$CLUSTER" 2>/dev/null
}

answers() { kubectl --context "$CONTEXT" get --raw /readyz >/dev/null 2>&1; }
await_api() {
    local until=$((SECONDS + READY_SECONDS))
    until answers; do
        [ $SECONDS -lt $until ] || fail "the API server of $CLUSTER does not answer after $READY_SECONDS s; 'cluster.sh down' removes the cluster"
        sleep 0.5
    done
}

# The cluster's name service stays off the workers, which tests take away. The provisioner of volumes does too.
spare_workers() {
    kubectl --context "$CONTEXT" --namespace kube-system patch deployment coredns --type merge --patch \
        '{"spec": {"template": {"spec": {"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}}}}' >/dev/null
}

last_word() { kubectl --context "$CONTEXT" --namespace kube-node-lease get lease "$1" -o 'jsonpath={.spec.renewTime}' 2>/dev/null || true; }

# A node that was away is called Ready until somebody notices: what counts is that its kubelet has spoken since SINCE.
await_word() { # NODE SINCE
    local until=$((SECONDS + READY_SECONDS))
    until [[ $(last_word "$1") > $2 ]]; do
        [ $SECONDS -lt $until ] || fail "node $1 does not come back after $READY_SECONDS s"
        sleep 0.5
    done
}

await_ready() { # SINCE
    local node
    for node in "${woken[@]}"; do await_word "$node" "$1"; done
    kubectl --context "$CONTEXT" wait --for=condition=Ready nodes --all --timeout="${READY_SECONDS}s" >/dev/null
    kubectl --context "$CONTEXT" wait --for=condition=Available deployments --all --all-namespaces --timeout="${READY_SECONDS}s" >/dev/null
}

up() {
    local image since woken=()
    since=$(date -u +%FT%TZ)
    stage "Docker" "$KIND_TESTS/docker.sh"
    stage "kind and kubectl" "$KIND_TESTS/tools.sh" kind kubectl >/dev/null
    if cluster_exists; then
        stage "cluster $CLUSTER: start" start
    else
        image=$(stage "node image" "$KIND_TESTS/node-image/build.sh")
        stage "cluster $CLUSTER: create" create "$image"
    fi
    stage "API server" await_api
    stage "pod network" wire
    spare_workers
    stage "cluster $CLUSTER: ready" await_ready "$since"
}

load() {
    local workers
    [ $# -gt 0 ] || fail "name the images to load"
    docker image inspect "$@" >/dev/null || fail "Docker lacks an image: 'make images' makes ours"
    workers=$(kind get nodes --name "$CLUSTER" | grep -v -- -control-plane | paste -sd,)
    kind load docker-image --name "$CLUSTER" --nodes "$workers" "$@"
}

usage() {
    sed -n '3,8s/^# //p' "$0" >&2
    exit 2
}

arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --kubeconfig)
        export KUBECONFIG=${2:?give a file after --kubeconfig}
        shift
        ;;
    *) arguments+=("$1") ;;
    esac
    shift
done
set -- "${arguments[@]}"
case ${1:-} in
up) up ;;
wire) wire ;;
load) stage "images" load "${@:2}" ;;
down) kind delete cluster --name "$CLUSTER" ;;
*) usage ;;
esac
