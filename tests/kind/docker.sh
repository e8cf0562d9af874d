#!/usr/bin/env bash
# Makes `docker info` work: installs Debian's Docker where there is none, and starts the daemon where none runs.
set -euo pipefail
# shellcheck source=tests/kind/environment.sh
source "$(dirname "$0")/environment.sh"

LOG=/var/log/dockerd.log
# The daemon outlives the clone, so its runtime may not lie in it.
RUNTIME=/usr/local/libexec/reliablequeue/runc-within-bounds
START_SECONDS=60

# The daemon as a plain background process, for machines without systemd.
start_daemon() {
    local options=()
    if ! has_sys_resource; then
        install -D -m 755 "$KIND_TESTS/runc-within-bounds" "$RUNTIME"
        options=(--add-runtime "within-bounds=$RUNTIME" --default-runtime within-bounds)
    fi
    rm -f /var/run/docker.pid
    setsid nohup dockerd "${options[@]}" >>"$LOG" 2>&1 </dev/null &
}

docker info >/dev/null 2>&1 && exit 0
command -v dockerd >/dev/null || need docker.io iptables jq
[ "$(id -u)" = 0 ] || fail "the Docker daemon does not run, and starting it needs root"
if [ -d /run/systemd/system ]; then
    systemctl start docker
else
    start_daemon
fi
for _ in $(seq "$START_SECONDS"); do
    docker info >/dev/null 2>&1 && exit 0
    sleep 1
done
tail -n 20 "$LOG" >&2 || true
fail "Docker does not answer after $START_SECONDS s; its log is $LOG, or 'journalctl -u docker' under systemd"
