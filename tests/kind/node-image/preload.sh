# Sourced by build.sh: the images of the cluster's own pods, put into the node's containerd, so that no node pulls anything.
# shellcheck shell=bash

REGISTRY=registry.k8s.io
PRELOADER=reliablequeue-kind-preload
CONTAINERD_SECONDS=30

# build_quietly NAME CONTEXT: Docker's classic builder, which needs neither buildx nor a frontend from a registry.
build_quietly() {
    local log=$2.log
    DOCKER_BUILDKIT=0 docker build -q -t "$1" "$2" >"$log" 2>&1 && return
    cat "$log" >&2
    fail "building the image $1 failed"
}

# one_program NAME BASE FILE PROGRAM [ARGUMENTS]: an image of one program on a base.
one_program() {
    local context
    context=$(mktemp -d -p "$SCRATCH")
    cp "$3" "$context/program"
    printf 'FROM %s\nCOPY program /usr/local/bin/%s\nENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nENTRYPOINT ["/usr/local/bin/%s"%s]\n' \
        "$2" "$4" "$4" "${5:-}" >"$context/Dockerfile"
    build_quietly "$1" "$context"
    IMAGES+=("$1")
}

# The provisioner prepares and removes volumes in pods of this one.
busybox_image() {
    local context=$SCRATCH/busybox
    mkdir "$context"
    cp "$(command -v busybox)" "$context/busybox"
    printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\nENV PATH=/bin\n' >"$context/Dockerfile"
    build_quietly docker.io/library/busybox:local "$context"
    IMAGES+=(docker.io/library/busybox:local)
}

build_images() {
    local program
    for program in kube-apiserver kube-controller-manager kube-scheduler; do
        one_program "$REGISTRY/$program:v$KUBERNETES" scratch "$PROGRAMS/$program-$KUBERNETES" "$program"
    done
    one_program "$REGISTRY/kube-proxy:v$KUBERNETES" reliablequeue/kind-proxy-rootfs "$PROGRAMS/kube-proxy-$KUBERNETES" kube-proxy
    one_program "$REGISTRY/etcd:$ETCD-0" scratch "$PROGRAMS/etcd-$ETCD" etcd
    one_program "$REGISTRY/coredns/coredns:$COREDNS_TAG" scratch "$PROGRAMS/coredns-$COREDNS" coredns
    # pause holds a pod's namespaces and reaps its orphans; Debian's static catatonit does the same.
    one_program "$REGISTRY/pause:$PAUSE_TAG" scratch "$(command -v catatonit)" catatonit ', "-P"'
    one_program "docker.io/rancher/local-path-provisioner:v$LOCAL_PATH_PROVISIONER" scratch \
        "$PROGRAMS/local-path-provisioner-$LOCAL_PATH_PROVISIONER" local-path-provisioner
    busybox_image
}

in_preloader() { docker exec "$PRELOADER" "$@"; }

import_into_containerd() {
    docker exec -d "$PRELOADER" containerd
    timeout "$CONTAINERD_SECONDS" bash -c "until docker exec $PRELOADER ctr version >/dev/null 2>&1; do sleep 0.2; done" ||
        fail "containerd in the node did not start within $CONTAINERD_SECONDS s"
    in_preloader ctr -n k8s.io images import --all-platforms --no-unpack /images.tar >/dev/null
    in_preloader sh -c 'pkill -x containerd; while pgrep -x containerd >/dev/null; do sleep 0.1; done; rm -rf /run/containerd'
}

# preload SCRATCH BASE NAME: makes the image NAME out of BASE.
preload() {
    SCRATCH=$1
    IMAGES=()
    build_images
    docker save -o "$SCRATCH/images.tar" "${IMAGES[@]}"
    docker rm -f "$PRELOADER" >/dev/null 2>&1 || true
    docker run -d --privileged --name "$PRELOADER" --entrypoint sleep -v "$SCRATCH/images.tar:/images.tar:ro" "$2" infinity >/dev/null
    import_into_containerd
    docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' "$PRELOADER" "$3" >/dev/null
    docker rm -f "$PRELOADER" >/dev/null
    docker image rm "${IMAGES[@]}" >/dev/null
}
