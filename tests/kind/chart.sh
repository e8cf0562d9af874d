#!/usr/bin/env bash
# Lints the chart of the operator and renders it with the values that people change; needs no cluster. Builds helm where the
# machine has none, which takes some minutes once.
set -euo pipefail
# shellcheck source=tests/kind/environment.sh
source "$(dirname "$0")/environment.sh"

CHART=$KIND_TESTS/../../charts/reliablequeue-operator
PATH=$("$KIND_TESTS/tools.sh" helm):$PATH

# render OPTION...: the chart as it would be applied.
render() { helm template "${RELEASE:-reliablequeue-operator}" "$CHART" --namespace reliablequeue-system "$@"; }

# holds WHAT PATTERN COUNT OPTION...: as many lines of what is rendered match.
holds() {
    local what=$1 pattern=$2 expected=$3 found
    shift 3
    found=$(render "$@" | grep -cE -- "$pattern" || true)
    [ "$found" = "$expected" ] || fail "$what: $found lines match '$pattern', not $expected, with: $*"
    echo "chart: $what"
}

# refused WHAT PATTERN OPTION...: helm refuses these values, and its answer names the cause.
refused() {
    local what=$1 pattern=$2 answer
    shift 2
    ! answer=$(render "$@" 2>&1 >/dev/null) || fail "$what: taken, with: $*"
    grep -qE -- "$pattern" <<<"$answer" || fail "$what: the answer does not name '$pattern': $answer"
    echo "chart: $what"
}

lint() {
    helm lint --strict --quiet "$CHART"
    helm lint --strict --quiet "$CHART" --set image.tag=dev --set image.pullPolicy=Never --set crds.install=false
}

matrix() {
    local version
    version=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' "$CHART/Chart.yaml")
    holds "the image is that of the release" "image: \"reliablequeue/operator:$version\"" 1
    holds "queues run the broker of the release" "value: \"reliablequeue/broker:$version\"" 1
    holds "a tag goes for the broker too" '(image|value): "reliablequeue/(operator|broker):dev"' 2 --set image.tag=dev
    holds "the broker can have its own" 'value: "mirror/broker:v9"' 1 \
        --set broker.image.repository=mirror/broker --set broker.image.tag=v9
    holds "CRDs are installed and kept" 'helm.sh/resource-policy: keep' 2
    holds "CRDs can be left to others" 'kind: CustomResourceDefinition' 0 --set crds.install=false
    holds "two replicas" '^  replicas: 2$' 1 --kube-version 1.33.0
    holds "the root is read-only and privileges are dropped" \
        '(readOnlyRootFilesystem: true|allowPrivilegeEscalation: false|drop: \[ALL\]|runAsNonRoot: true|type: RuntimeDefault)' 5
    holds "the policy names the account" "system:serviceaccount:queues:robot'" 5 \
        --set serviceAccount.name=robot --namespace queues
    holds "what keeps replicas apart" 'podAntiAffinity: here' 1 --set affinity.podAntiAffinity=here
    RELEASE=blue holds "another name of the release" 'name: blue-reliablequeue-operator$' 13
    holds "where it runs" '(disk: fast|priorityClassName: urgent|key: dedicated|team: queues|- name: mirror)' 5 \
        --set nodeSelector.disk=fast --set priorityClassName=urgent --set 'tolerations[0].key=dedicated' \
        --set podLabels.team=queues --set 'imagePullSecrets[0].name=mirror'
    refused "a misspelt value" 'imag' --set imag.tag=dev
    refused "a pull policy that is none" 'pullPolicy' --set image.pullPolicy=Sometimes
    refused "a label by which the pods are selected" 'app.kubernetes.io/name' --set 'podLabels.app\.kubernetes\.io/name=mine'
    refused "no word about the CRDs" 'crds' --set crds=null
    refused "no image of the broker" 'image' --set broker.image=null
    refused "replicas in words" 'replicas' --set-string replicas=two
    refused "an old cluster" 'kubeVersion' --kube-version 1.32.0
}

stage "lint" lint
stage "matrix" matrix
