#!/usr/bin/env bash
# What ReliableQueue is for, in one command: a queue of two copies under load, its master killed, and what came of it. Needs the cluster
# of `make kind-up` with the operator in it; leaves the queue there to look at.
# Usage: demo.sh PROGRAMS_DIR   (where rq lies, which is kubectl rq too)
set -euo pipefail
# shellcheck source=tests/kind/environment.sh
source "$(dirname "$0")/environment.sh"

RQ=${1:?give the directory with rq}/rq
QUEUE=orders
READY=240s
# The load: so long, and the master is killed when it has run for a while.
SECONDS_OF_LOAD=30
SENT_BEFORE=1000

# kubectl and its plugin, and this cluster whatever the user's kubeconfig points at.
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
ln -s "$(realpath "$RQ")" "$here/kubectl-rq"
kubectl config view --raw --minify --flatten --context "$CONTEXT" >"$here/kubeconfig"
export PATH=$here:$PATH KUBECONFIG=$here/kubeconfig
cd "$KIND_TESTS/../.."

# say TEXT: what happens next. Everything else is what the commands print.
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# show COMMAND...: as somebody would type it, and then what it prints.
show() {
    printf '\033[2m$ %s\033[0m\n' "$*"
    "$@"
}

load_pod() {
    cat <<END
apiVersion: v1
kind: Pod
metadata:
  name: demo-load
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: load
      image: reliablequeue/broker:dev
      imagePullPolicy: Never
      command: [rq, bench, --endpoint, "$QUEUE:8081", --timeout, 5s, --rate, "200", --senders, "8", --consumers, "2",
                --size, "256", --warmup, 0s, --duration, ${SECONDS_OF_LOAD}s]
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
END
}

# await WHAT COMMAND...: until it succeeds.
await() {
    local what=$1 until=$((SECONDS + 240))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || fail "$what: not within 240 s; see kubectl get pods,events"
        sleep 0.5
    done
}

field() { kubectl get "$1" -o "jsonpath={$2}"; }
master() { field "reliablequeue/$QUEUE" .status.master; }
epoch() { field "queueshard/$QUEUE" .spec.epoch; }
promoted() { [ "$(epoch)" -gt "$1" ]; }
# Messages that the queue has taken; 0 while nobody can tell.
sent() {
    local sent
    sent=$(kubectl exec "$(master)" --container broker -- rq topic describe bench -o json 2>/dev/null |
        sed -nE 's/^ *"messages": ([0-9]+),?$/\1/p') || true
    echo "${sent:-0}"
}
sent_since() { [ "$(sent)" -gt $(($1 + SENT_BEFORE)) ]; }
load_over() { [[ $(field pod/demo-load .status.phase) =~ Succeeded|Failed ]]; }
served() { # EPOCH_BEFORE
    [[ $(field "reliablequeue/$QUEUE" .status.lastFailover.epoch) -gt $1 && -n $(field "reliablequeue/$QUEUE" .status.lastFailover.servedAt) ]]
}

say "A queue in which no acknowledged message is lost: a master and a slave, each with a volume of its own."
show kubectl apply -f examples/minimal.yaml
show kubectl wait --for=condition=Ready "reliablequeue/$QUEUE" --timeout="$READY"
show kubectl get reliablequeue "$QUEUE"
show kubectl get pods -l "app.kubernetes.io/instance=$QUEUE" -L reliablequeue.dev/role

say "200 messages a second, sent and consumed. Each sender waits for its OK and repeats what was not answered."
kubectl delete pod demo-load --ignore-not-found --wait >/dev/null
already=$(sent)
load_pod | kubectl apply -f - >/dev/null
await "the load sends" sent_since "$already"
victim=$(master)
before=$(epoch)

# A pod that is deleted, by force too, is sent a SIGTERM, on which its broker hands over: so its process is killed first.
node=$(field "pod/$victim" .spec.nodeName)
container=$(field "pod/$victim" '.status.containerStatuses[0].containerID')
say "The master is $victim, in epoch $before. Its process is killed, with no time to say goodbye, and its pod with it."
show docker exec "$node" ctr --namespace k8s.io task kill --signal SIGKILL "${container#containerd://}"
show kubectl delete pod "$victim" --force --grace-period=0 2>/dev/null
await "a promotion" promoted "$before"
show kubectl get reliablequeue "$QUEUE"

say "The slave took over. How that went:"
await "the end of the failover" served "$before"
show kubectl rq events "$QUEUE"

say "The pod comes back as a slave and catches up."
await "the end of the load" load_over
show kubectl wait --for=condition=FullyReplicated "reliablequeue/$QUEUE" --timeout="$READY"
show kubectl get pods -l "app.kubernetes.io/instance=$QUEUE" -L reliablequeue.dev/role

say "What the clients saw:"
report=$(kubectl logs demo-load)
echo "$report"
outcome=$(sed -nE 's/^messages, those of the warm-up too: //p' <<<"$report")
gap=$(sed -nE 's/^longest time without an acknowledged send: ([^,]*),.*/\1/p' <<<"$report")
[[ $outcome == *"lost 0"* ]] || fail "messages were lost, or nobody can tell: $outcome"
say "Done. $victim was killed in epoch $before and $(master) is master in epoch $(epoch). No client got an OK for $gap at most, and of the
messages that were acknowledged, none is lost: $outcome.
Look around: kubectl --context $CONTEXT get rq; remove all: make kind-down"
