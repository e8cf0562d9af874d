#!/usr/bin/env bash
# Makes kind, kubectl and helm available and prints the folder to put in front of PATH: kind always in the pinned version,
# the other two only where the machine has none.
# Usage: PATH=$(tests/kind/tools.sh [TOOL...]):$PATH   (all of them: kind kubectl helm)
set -euo pipefail
# shellcheck source=tests/kind/environment.sh
source "$(dirname "$0")/environment.sh"
# shellcheck source=tests/kind/programs.sh
source "$KIND_TESTS/programs.sh"

# offer NAME VERSION: puts a built program on the path.
offer() {
    mkdir -p "$KIND_CACHE/bin"
    ln -sfn "$PROGRAMS/$1-$2" "$KIND_CACHE/bin/$1"
}

# absent NAME: the machine has none of its own; what was offered before may be of another version.
absent() { ! PATH=${PATH#"$KIND_CACHE/bin:"} command -v "$1" >/dev/null; }

provide() {
    case $1 in
    kind)
        build_kind
        offer kind "$KIND"
        ;;
    kubectl)
        build_kubernetes kubectl
        offer kubectl "$KUBERNETES"
        ;;
    helm)
        build_helm
        offer helm "$HELM"
        ;;
    *) fail "no tool $1; one of: kind kubectl helm" ;;
    esac
}

[ $# -gt 0 ] || set -- kind kubectl helm
for tool in "$@"; do
    if [ "$tool" = kind ] || absent "$tool"; then provide "$tool"; fi
done
echo "$KIND_CACHE/bin"
