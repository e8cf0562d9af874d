# Sourced: builds the pinned programs out of Go modules, each once, as $PROGRAMS/NAME-VERSION.
# Nothing of the clone goes into them, so they serve every clone of this user.
# shellcheck shell=bash disable=SC2034 # what is set here is used by who sources it

PROGRAMS=$KIND_CACHE/programs
KUBERNETES_PROGRAMS=(kubeadm kubelet kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
export GOBIN=$PROGRAMS/building CGO_ENABLED=0 GOTOOLCHAIN=auto

# once NAME VERSION COMMAND...: unless that program is there, runs a command that puts NAME into $GOBIN, and keeps it.
# What is under its final name is whole: an interrupted build leaves nothing there.
once() {
    local name=$1 version=$2
    shift 2
    [ ! -x "$PROGRAMS/$name-$version" ] || return 0
    command -v go >/dev/null || need golang-go
    mkdir -p "$GOBIN"
    "$@"
    mv "$GOBIN/$name" "$PROGRAMS/$name-$version"
}

install_module() { go install -modcacherw -ldflags '-s -w' "$1"; }

build_kind() { once kind "$KIND" install_module "sigs.k8s.io/kind@v$KIND"; }
build_helm() { once helm "$HELM" install_module "helm.sh/helm/v4/cmd/helm@v$HELM"; }

# in_module NAME VERSION MODULE: enters a throw-away module that requires one version of one module.
in_module() {
    mkdir -p "$KIND_CACHE/modules/$1"
    cd "$KIND_CACHE/modules/$1" || return
    printf 'module throw/away\n\ngo 1.24.0\n\nrequire %s v%s\n' "$3" "$2" >go.mod
}

# in_this_module NAME PACKAGE [LDFLAG...]
in_this_module() {
    local name=$1 package=$2
    shift 2
    go build -mod=mod -modcacherw -ldflags "-s -w $*" -o "$GOBIN/$name" "$package"
}

# Kubernetes requires its staging modules as v0.0.0 and replaces them by folders beside itself. As somebody's dependency
# it builds when each of them is replaced by its release: that of Kubernetes 1.N.P is 0.N.P.
kubernetes_module() {
    local sources
    in_module kubernetes "$KUBERNETES" k8s.io/kubernetes
    sources=$(go mod download -modcacherw -json "k8s.io/kubernetes@v$KUBERNETES" | sed -nE 's/^\s*"Dir": "(.*)",?$/\1/p')
    sed -nE "s|^\s+(k8s.io/[a-z0-9-]+) v0\.0\.0\$|replace \1 => \1 v0.${KUBERNETES#1.}|p" "$sources/go.mod" >>go.mod
}

kubernetes_program() (
    local version=k8s.io/component-base/version minor=${KUBERNETES#1.}
    kubernetes_module
    in_this_module "$1" "k8s.io/kubernetes/cmd/$1" \
        "-X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"
)

build_kubernetes() { # PROGRAM...
    local program
    for program in "$@"; do once "$program" "$KUBERNETES" kubernetes_program "$program"; done
}

# Built in the module of Kubernetes, so that it shares the compiled client of Kubernetes, which takes minutes by itself.
local_path_provisioner_program() (
    kubernetes_module
    echo "require github.com/rancher/local-path-provisioner v$LOCAL_PATH_PROVISIONER" >>go.mod
    in_this_module local-path-provisioner github.com/rancher/local-path-provisioner
)
build_local_path_provisioner() { once local-path-provisioner "$LOCAL_PATH_PROVISIONER" local_path_provisioner_program; }

# Only the plugins that a cluster's configuration names: all of them take many times as long.
coredns_program() (
    in_module coredns "$COREDNS" github.com/coredns/coredns
    {
        printf 'package main\n\nimport (\n\t"github.com/coredns/coredns/coremain"\n'
        printf '\t_ "github.com/coredns/coredns/%s"\n' core/dnsserver \
            plugin/{cache,errors,forward,health,kubernetes,loadbalance,log,loop,metrics,ready,reload}
        printf ')\n\nfunc main() { coremain.Run() }\n'
    } >main.go
    in_this_module coredns .
)
build_coredns() { once coredns "$COREDNS" coredns_program; }

# kubeadm chooses etcd's flags by its version, so nothing else will do.
etcd_program() (
    in_module etcd "$ETCD" go.etcd.io/etcd/server/v3
    in_this_module etcd go.etcd.io/etcd/server/v3
)
build_etcd() { once etcd "$ETCD" etcd_program; }
