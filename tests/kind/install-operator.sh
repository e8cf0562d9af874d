#!/usr/bin/env bash
# Installs the chart of the operator, or upgrades it, with the images that `cluster.sh load` put into the cluster, into a
# namespace that enforces restricted Pod Security. Does nothing where there is no chart.
set -euo pipefail
# shellcheck source=tests/kind/environment.sh
source "$(dirname "$0")/environment.sh"

CHART=$KIND_TESTS/../../charts/reliablequeue-operator
NAMESPACE=reliablequeue-system
READY=180s

kube() { kubectl --context "$CONTEXT" "$@"; }

there() { helm status reliablequeue-operator --kube-context "$CONTEXT" --namespace "$NAMESPACE" >/dev/null 2>&1; }

install() {
    local again=false
    ! there || again=true
    kube create namespace "$NAMESPACE" --dry-run=client -o yaml | kube apply -f - >/dev/null
    kube label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
    # Tests that took CRDs away put them back with kubectl, which owns their fields then.
    helm upgrade --install --force-conflicts reliablequeue-operator "$CHART" --kube-context "$CONTEXT" --namespace "$NAMESPACE" \
        --set image.tag=dev --set image.pullPolicy=Never >/dev/null
    # The tag stays the same when the image behind it changes.
    ! $again || kube --namespace "$NAMESPACE" rollout restart deployment >/dev/null
    kube --namespace "$NAMESPACE" wait --for=condition=Available deployments --all --timeout="$READY" >/dev/null
}

if [ ! -d "$CHART" ]; then
    echo "operator: charts/reliablequeue-operator is not there; nothing installed"
    exit 0
fi
stage "helm" "$KIND_TESTS/tools.sh" helm >/dev/null
stage "operator" install
