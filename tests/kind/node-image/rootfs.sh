# Sourced by build.sh: file systems of the machine's own Debian or Ubuntu release, from the sources that its apt uses.
# shellcheck shell=bash

NODE_PACKAGES=systemd,systemd-sysv,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod,libseccomp2,pigz,e2fsprogs
NODE_PACKAGES+=,bash,ca-certificates,curl,jq,procps,hostname,containerd,runc,containernetworking-plugins
PROXY_PACKAGES=conntrack,iptables,iproute2,kmod

debian_release() { (source /etc/os-release && echo "${VERSION_CODENAME:-unknown}"); }

# Where apt looks for the distribution itself; other sources of this machine are no concern of a node.
debian_sources() {
    local sources
    for sources in /etc/apt/sources.list.d/{debian,ubuntu}.sources /etc/apt/sources.list; do
        if [ -s "$sources" ]; then
            echo "$sources"
            return
        fi
    done
    fail "found no apt sources of Debian or Ubuntu: building the node image needs them, or pull $OFFICIAL_NODE"
}

# import NAME PACKAGES: once for each list of packages; the newest is also NAME:latest, which other images start from.
import() {
    local kept
    kept=$1:$(debian_release)-$(sha256sum <<<"$2" | cut -c 1-12)
    in_docker "$kept" ||
        mmdebstrap --quiet --variant=minbase --include="$2" "$(debian_release)" - "$(debian_sources)" | docker import - "$kept" >/dev/null
    docker tag "$kept" "$1:latest"
}

import_rootfs() {
    import reliablequeue/kind-rootfs "$NODE_PACKAGES"
    import reliablequeue/kind-proxy-rootfs "$PROXY_PACKAGES"
}
