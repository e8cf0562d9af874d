#!/usr/bin/env bash
# Prints the name of a node image that kind can use, and has it in Docker by then: the official one where it can be pulled
# and can run, else one built from Go modules and Debian packages. What was built is kept, under the hash of its inputs,
# in Docker and as an archive beside it, which a fresh Docker loads in seconds.
# Usage: build.sh [--cached]   (--cached: only says by its exit code whether it is there, pulls nothing and needs no Docker)
set -euo pipefail
# shellcheck source=tests/kind/environment.sh
source "$(dirname "$0")/../environment.sh"
# shellcheck source=tests/kind/programs.sh
source "$KIND_TESTS/programs.sh"
# shellcheck source=tests/kind/node-image/rootfs.sh
source "$KIND_TESTS/node-image/rootfs.sh"
# shellcheck source=tests/kind/node-image/preload.sh
source "$KIND_TESTS/node-image/preload.sh"

NODE_PROGRAMS=(kubeadm kubelet kubectl)

inputs_hash() {
    local inputs=("$KIND_TESTS/versions" "$KIND_TESTS/programs.sh" "$KIND_TESTS/runc-within-bounds" "$KIND_TESTS"/node-image/*)
    { cat "${inputs[@]}" && uname -m && debian_release; } | sha256sum | cut -c 1-12
}

in_docker() { docker image inspect "$1" >/dev/null 2>&1; }

# Official images of today's Kubernetes want cgroup v2, and bring a runc that asks for every capability.
official_can_run() { [ -f /sys/fs/cgroup/cgroup.controllers ] && has_sys_resource; }
pull_official() {
    in_docker "$OFFICIAL_NODE" || timeout "$OFFICIAL_PULL_SECONDS" docker pull -q "$OFFICIAL_NODE" >/dev/null 2>&1
}

build_programs() {
    stage "kind $KIND" build_kind
    stage "Kubernetes $KUBERNETES" build_kubernetes "${KUBERNETES_PROGRAMS[@]}"
    stage "etcd $ETCD" build_etcd
    stage "CoreDNS $COREDNS" build_coredns
    stage "local-path-provisioner $LOCAL_PATH_PROVISIONER" build_local_path_provisioner
}

# The node without the images of the cluster's own pods. kind's module carries the files of its base image.
build_base() {
    local context=$1/node kind program
    kind=$(go mod download -modcacherw -json "sigs.k8s.io/kind@v$KIND" | sed -nE 's/^\s*"Dir": "(.*)",?$/\1/p')
    mkdir -p "$context/bin"
    cp -r "$kind/images/base/files" "$context/files"
    chmod -R u+w "$context/files"
    # Modes are set here: in the image, changing one would store the file twice.
    chmod 755 "$context"/files/usr/local/bin/* "$context"/files/kind/bin/*
    # Without CAP_SYS_RESOURCE no process may lower its OOM score; containerd then keeps what it has.
    sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$context/files/etc/containerd/config.toml"
    for program in "${NODE_PROGRAMS[@]}"; do cp "$PROGRAMS/$program-$KUBERNETES" "$context/bin/$program"; done
    install -m 755 "$KIND_TESTS/runc-within-bounds" "$context/runc"
    cp "$KIND_TESTS"/node-image/{Dockerfile,storage.yaml,pod-network.service} "$context/"
    sed -i "s/PROVISIONER_VERSION/v$LOCAL_PATH_PROVISIONER/" "$context/storage.yaml"
    echo "v$KUBERNETES" >"$context/version"
    build_quietly reliablequeue/kind-base "$context"
}

# Keeps the image as an archive, and of both only the newest one and what a cluster still uses.
keep_archive() { # IMAGE ARCHIVE
    local old
    docker save -o "$KIND_CACHE/saving" "$1"
    rm -f "$KIND_CACHE"/node-*.tar
    mv "$KIND_CACHE/saving" "$2"
    for old in $(docker image ls --format '{{.Repository}}:{{.Tag}}' reliablequeue/kind-node); do
        [ "$old" = "$1" ] || docker image rm "$old" >/dev/null 2>&1 || true
    done
}

build() { # IMAGE ARCHIVE
    need jq mmdebstrap catatonit busybox-static
    build_programs
    scratch=$(mktemp -d -p "$KIND_CACHE")
    trap 'rm -rf "$scratch"' EXIT
    stage "Debian $(debian_release)" import_rootfs
    stage "base of the node" build_base "$scratch"
    stage "images in the node" preload "$scratch" reliablequeue/kind-base "$1"
    stage "archive: save" keep_archive "$1" "$2"
}

# make_available: by the fastest way that works.
make_available() {
    if official_can_run && pull_official; then
        image=$OFFICIAL_NODE
    elif in_docker "$image"; then
        :
    elif [ -f "$archive" ]; then
        stage "archive: load" docker load -q -i "$archive" >&2
    else
        build "$image" "$archive" >&2
    fi
}

hash=$(inputs_hash)
image=reliablequeue/kind-node:$hash
archive=$KIND_CACHE/node-$hash.tar
if [ "${1:-}" = --cached ]; then
    in_docker "$OFFICIAL_NODE" || in_docker "$image" || [ -f "$archive" ]
else
    make_available
    echo "$image"
fi
