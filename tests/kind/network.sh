# Sourced by cluster.sh: the pod network of nodes of the built image. A bridge in each node, and on each node a route to the
# pods of every other one. Nodes of the official image have kind's own network, and this leaves them alone.
# shellcheck shell=bash

POD_NETWORK=10.244.0.0/16
NODE_SECONDS=60

# node_field NODE JSONPATH: a field of a Node object, once it has a value.
node_field() {
    local value until=$((SECONDS + NODE_SECONDS))
    while :; do
        value=$(kubectl --context "$CONTEXT" get node "$1" -o "jsonpath=$2" 2>/dev/null) || value=
        [ -z "$value" ] || break
        [ $SECONDS -lt $until ] || fail "node $1 has no $2 after $NODE_SECONDS s"
        sleep 0.5
    done
    echo "$value"
}

lays_own_network() {
    [[ $(docker inspect -f '{{.Config.Image}}' "$CLUSTER-control-plane") == reliablequeue/kind-node:* ]]
}

# What a node runs to lay its share: a line for each other node, and the address of the node for what leaves the cluster.
routes_script() { # NODE
    local other
    for other in "${!pods[@]}"; do
        [ "$other" = "$1" ] || echo "ip route replace ${pods[$other]} via ${address[$other]}"
    done
    local outgoing="POSTROUTING -s $POD_NETWORK ! -d $POD_NETWORK -j MASQUERADE"
    echo "iptables -t nat -C $outgoing 2>/dev/null || iptables -t nat -A $outgoing"
}

bridge_config() { # PODS
    cat <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$1"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
}

# A node that is down is left out: its own script lays its routes when it starts, and `wire` again does if its address is new.
wire() {
    local node
    local -A pods address
    lays_own_network || return 0
    for node in $(kind get nodes --name "$CLUSTER"); do
        pods[$node]=$(node_field "$node" '{.spec.podCIDR}')
        address[$node]=$(docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' "$node")
        [ -n "${address[$node]}" ] || unset "pods[$node]"
    done
    for node in "${!pods[@]}"; do
        routes_script "$node" | docker exec -i "$node" sh -c 'cat >/kind/pod-network.sh && sh /kind/pod-network.sh'
        bridge_config "${pods[$node]}" | docker exec -i "$node" sh -c 'mkdir -p /etc/cni/net.d && cat >/etc/cni/net.d/10-pods.conflist'
    done
}
