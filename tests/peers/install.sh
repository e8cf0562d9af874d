#!/usr/bin/env bash
# Puts what `make bench-peers` measures beside ours into a directory: Apache RocketMQ's jars (DIR/rocketmq/lib), a NATS server
# and its load generator (DIR/nats), in the versions that rocketmq/pom.xml and nats/go.mod pin. What is there is kept.
# Usage: install.sh DIR
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
into=${1:?give the directory to install into}
"$here/../clients/install.sh" go java

mkdir -p "$into/rocketmq" "$into/nats"
if ! cmp -s "$here/rocketmq/pom.xml" "$into/rocketmq/pom.xml"; then
    rm -rf "$into/rocketmq/lib"
    mvn -B -q process-classes -f "$here/rocketmq/pom.xml" -Dbuild.dir="$into/rocketmq"
    cp "$here/rocketmq/pom.xml" "$into/rocketmq/pom.xml"
fi
cd "$here/nats"
go build -mod=readonly -o "$into/nats/nats-server" github.com/nats-io/nats-server/v2
go build -mod=readonly -o "$into/nats/load" .
