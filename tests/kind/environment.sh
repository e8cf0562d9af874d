# Sourced by the scripts here: where things are, which versions, how a stage is timed. Starts nothing and writes nothing.
# shellcheck shell=bash disable=SC2034 # what is set here is used by who sources it

# A failure inside $(...) ends the script too.
shopt -s inherit_errexit

KIND_TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/kind/versions
source "$KIND_TESTS/versions"

# Outside the clone, so that a second clone, or a clean one, finds what the first has built.
KIND_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/reliablequeue/kind
CLUSTER=${CLUSTER:-rq}
CONTEXT=kind-$CLUSTER
# Programs of ours come first: kind, and kubectl and helm where the machine has none (tools.sh).
PATH=$KIND_CACHE/bin:$PATH

# Bit 24 of the capability sets. Root without it cannot start privileged containers with plain runc.
CAP_SYS_RESOURCE=24

# stage NAME COMMAND...: runs a command and prints how long it took.
stage() {
    local name=$1 started=$SECONDS
    shift
    echo "=== $name" >&2
    "$@"
    echo "=== $name: $((SECONDS - started)) s" >&2
}

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

has_sys_resource() {
    local bounding
    bounding=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
    (((0x$bounding >> CAP_SYS_RESOURCE) & 1))
}

# need PACKAGE...: Debian packages, installed where they are missing.
need() {
    dpkg -s "$@" >/dev/null 2>&1 && return
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        fail "install $* by hand: installing them needs apt-get and root"
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}
