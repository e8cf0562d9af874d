#!/usr/bin/env bash
# Installs what the client programs need and this machine lacks (Debian packages, as root). Installs nothing that is
# there in a sufficient version. `install.sh --check [LANGUAGE...]` only says what is missing, and exits with 1 if
# anything is. Languages: go java node python rust.
set -euo pipefail

GO_MIN=1.24
JAVA_MIN=17
NODE_MIN=18
PYTHON_MIN=3.10

# at_least HAVE WANT: whether version HAVE is WANT or newer.
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# version PATTERN COMMAND...: the first match of PATTERN in what the command prints, or nothing.
version() {
    local pattern=$1
    shift
    { "$@" 2>&1 || true; } | { grep -oE "$pattern" || true; } | head -n 1 | grep -oE '[0-9]+(\.[0-9]+)*' || true
}

has() {
    command -v "$1" >/dev/null
}

# Prints the Debian packages that a language lacks, one a line.
lacks() {
    case $1 in
    go) has go && at_least "$(version 'go[0-9.]+' go version)" $GO_MIN || echo golang-go ;;
    java)
        has javac && at_least "$(version '[0-9][0-9.]*' javac -version)" $JAVA_MIN || echo default-jdk-headless
        has mvn || echo maven
        ;;
    node)
        has node && at_least "$(version '[0-9][0-9.]*' node --version)" $NODE_MIN || echo nodejs
        has npm || echo npm
        ;;
    python)
        has python3 && at_least "$(version '[0-9][0-9.]*' python3 --version)" $PYTHON_MIN || echo python3
        python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
        ;;
    rust) has protoc || echo protobuf-compiler ;;
    *)
        echo "install.sh: no language $1; one of: go java node python rust" >&2
        exit 2
        ;;
    esac
}

check=false
if [ "${1:-}" = --check ]; then
    check=true
    shift
fi
[ $# -gt 0 ] || set -- go java node python rust

missing=()
for language in "$@"; do
    packages=$(lacks "$language")
    [ -z "$packages" ] || mapfile -t -O "${#missing[@]}" missing <<<"$packages"
done
if [ ${#missing[@]} -eq 0 ]; then
    $check || echo "client toolchains: all there"
    exit 0
fi
if $check; then
    echo "missing or too old: ${missing[*]} (go $GO_MIN, java $JAVA_MIN, node $NODE_MIN, python $PYTHON_MIN or newer); run tests/clients/install.sh"
    exit 1
fi
if ! has apt-get || [ "$(id -u)" != 0 ]; then
    echo "client toolchains: install ${missing[*]} by hand (go $GO_MIN, java $JAVA_MIN, node $NODE_MIN, python $PYTHON_MIN or newer): this script needs apt-get and root" >&2
    exit 1
fi
echo "client toolchains: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
exec "$0" --check "$@"
