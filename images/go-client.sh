#!/usr/bin/env bash
# Makes the image reliablequeue/go-client: the official Go client as a program of the tests, alone in an image without a
# system. Needs Go and Docker; pulls no image.
# Usage: go-client.sh [TAG]   (TAG: dev)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tag=${1:-dev}
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
(cd "$here/../tests/clients/go" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags=-s -o "$context/client" .)
install -d -m 1777 "$context/tmp"
cat >"$context/Dockerfile" <<'END'
FROM scratch
COPY client /client
COPY tmp/ /tmp/
ENV HOME=/tmp
USER 65532:65532
ENTRYPOINT ["/client"]
END
# The classic builder, as in build.sh.
DOCKER_BUILDKIT=0 docker build --quiet --tag "reliablequeue/go-client:$tag" "$context" >/dev/null 2>"$context/log" || {
    cat "$context/log" >&2
    exit 1
}
echo "reliablequeue/go-client:$tag  $(docker image inspect -f '{{.Size}}' "reliablequeue/go-client:$tag" | numfmt --to=iec)"
