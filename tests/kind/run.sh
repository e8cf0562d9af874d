#!/usr/bin/env bash
# Runs the tests on a cluster, one at a time: they share two cores, and some take parts of the cluster away.
# Usage: run.sh all|few|bench [FILTER...]
#   all    every test with every row of its tables, or those that a filter names (b_master), on the cluster that there is
#   few    what `make test` runs, on the cluster of `make kind-up`, which it starts; says what it leaves out
#   bench  how long failovers take, in many runs of each
set -euo pipefail
# shellcheck source=tests/kind/environment.sh
source "$(dirname "$0")/environment.sh"

ALWAYS=(a_life b_master h_refused)
# Where the node image need not be built, there is time for more.
WITH_IMAGE=(c_slaves e_operator)
LEFT_OUT=(d_nodes f_api_server g_changes i_volumes j_rights k_rest l_held)
# Prints what the others measured.
TIMES=z_times

tests() {
    [ -n "${KUBECONFIG:-}" ] || export RQ_KIND_CONTEXT=${RQ_KIND_CONTEXT:-$CONTEXT}
    PATH=$("$KIND_TESTS/tools.sh" kubectl):$PATH RQ_E2E=1 RUST_LIB_BACKTRACE=0 \
        cargo test --locked --manifest-path "$KIND_TESTS/../Cargo.toml" --test kind -- --test-threads=1 --nocapture "$@"
}

few() {
    local chosen=("${ALWAYS[@]}")
    # `make test` uses its own cluster, whatever the user works with.
    unset KUBECONFIG
    if "$KIND_TESTS/node-image/build.sh" --cached; then
        chosen+=("${WITH_IMAGE[@]}")
    else
        LEFT_OUT+=("${WITH_IMAGE[@]}")
    fi
    make -C "$KIND_TESTS/../.." --no-print-directory kind-up
    # helm is there now: the operator was installed with it.
    stage "chart" "$KIND_TESTS/chart.sh"
    RQ_E2E_FEW=1 tests "${chosen[@]}" "$TIMES"
    echo "NOT RUN by make test: ${LEFT_OUT[*]}; make e2e runs them"
}

case ${1:-} in
all) if [ $# -gt 1 ]; then tests "${@:2}" "$TIMES"; else tests; fi ;;
few) few ;;
bench) tests --ignored failover_times ;;
*) fail "say what to run: all, few or bench" ;;
esac
