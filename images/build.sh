#!/usr/bin/env bash
# Makes the images reliablequeue/broker and reliablequeue/operator out of programs that are built already; the second only
# where its program is there. Needs Docker, ca-certificates and binutils; pulls nothing.
# Usage: build.sh PROGRAMS_DIR [TAG]   (TAG: dev)
set -euo pipefail
shopt -s nullglob

here=$(cd "$(dirname "$0")" && pwd)
programs=${1:?give the directory with rq-broker, rq and rq-operator}
tag=${2:-dev}
# The authorities that Debian trusts, without those that were added to this machine.
AUTHORITIES=/usr/share/ca-certificates/mozilla

fail() {
    echo "images/build.sh: $*" >&2
    exit 1
}

# put IMAGE PROGRAM: into the image's part of the context; without debug information, which is most of a program.
put() {
    [ -x "$programs/$2" ] || fail "$programs/$2 is missing: run 'make build' first"
    mkdir -p "$context/$1"
    strip --strip-debug -o "$context/$1/$2" "$programs/$2"
    chmod 755 "$context/$1/$2"
}

# The loader and the libraries that a program was linked with, where it will look for them: those of another glibc would not do.
put_libraries() {
    local library
    ldd "$@" | grep -oE '/[^ ]+\.so[^ ]*' | sort -u | while read -r library; do
        install -D -m 755 "$library" "$context/base$library"
    done
}

# What a process expects of a system: a user with a name, names looked up in /etc/hosts first, trusted authorities.
put_system() {
    mkdir -p "$context/base/etc/ssl/certs" "$context/data"
    echo 'nonroot:x:65532:65532::/:/nonexistent' >"$context/base/etc/passwd"
    echo 'nonroot:x:65532:' >"$context/base/etc/group"
    echo 'hosts: files dns' >"$context/base/etc/nsswitch.conf"
    [ -d "$AUTHORITIES" ] || fail "$AUTHORITIES is missing: install ca-certificates"
    cat "$AUTHORITIES"/*.crt >"$context/base/etc/ssl/certs/ca-certificates.crt"
    install -d -m 1777 "$context/base/tmp"
}

# The classic builder: buildx may be set up to build where a cluster of this Docker does not see the image.
build() {
    DOCKER_BUILDKIT=0 docker build --quiet --target "$1" --tag "reliablequeue/$1:$tag" -f "$here/Dockerfile" "$context" >"$log" 2>&1 || {
        cat "$log" >&2
        fail "building the image of the $1 failed"
    }
    echo "reliablequeue/$1:$tag  $(docker image inspect -f '{{.Size}}' "reliablequeue/$1:$tag" | numfmt --to=iec)"
}

context=$(mktemp -d)
log=$(mktemp)
trap 'rm -rf "$context" "$log"' EXIT
put broker rq-broker
put broker rq
built=(broker)
if [ -x "$programs/rq-operator" ]; then
    put operator rq-operator
    built+=(operator)
fi
put_libraries "$context"/{broker,operator}/*
put_system
for image in "${built[@]}"; do build "$image"; done
