#!/bin/sh
# Loomidi on a cluster of this machine: minikube, kind or k3d. Builds the image where it is missing, loads it into the
# nodes, installs the chart, or upgrades it.
#
#   tools/setup_minikube.sh                    the first of minikube, kind and k3d that is there, started when it is not up
#   tools/setup_minikube.sh --with kind        this one
#   tools/setup_minikube.sh --cluster NAME     of that name (minikube: profile)  [loomidi]
#   tools/setup_minikube.sh --namespace NAME   where it is installed  [loomidi-system]
#   tools/setup_minikube.sh --image NAME:TAG   this image, made by somebody else  [lab.loomidi.io/loomidi:1]
#   tools/setup_minikube.sh --values FILE      values besides deployments/minikube/values.yaml
#   tools/setup_minikube.sh --dry-run          only print what would be done
#   tools/setup_minikube.sh --help
#
# Exit codes: 0 done, 2 something is missing (it says what), else that of the command that failed.
set -eu
cd "$(dirname "$0")/.."

kind_of='' cluster=loomidi namespace=loomidi-system image=lab.loomidi.io/loomidi:1 values='' dry=''
usage() { sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p;}' tools/setup_minikube.sh; }
die() {
    echo "setup_minikube: $1" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --dry-run) dry=1 ;;
    --with | --cluster | --namespace | --image | --values)
        [ $# -ge 2 ] || die "$1 takes a value; see --help"
        case $1 in
        --with) kind_of=$2 ;;
        --cluster) cluster=$2 ;;
        --namespace) namespace=$2 ;;
        --image) image=$2 ;;
        --values) values=$2 ;;
        esac
        shift
        ;;
    *) die "unknown option $1; see --help" ;;
    esac
    shift
done

there() { command -v "$1" >/dev/null 2>&1; }
run() {
    echo "+ $*"
    [ -n "$dry" ] || "$@"
}

# 1. which cluster
if [ -z "$kind_of" ]; then
    for each in minikube kind k3d; do
        if there "$each"; then
            kind_of=$each
            break
        fi
    done
    [ -n "$kind_of" ] || die "none of minikube, kind and k3d is installed; install one (https://kind.sigs.k8s.io), or use helm on a cluster of yours: docs/deploy.md"
fi
case $kind_of in
minikube | kind | k3d) ;;
*) die "--with $kind_of: use minikube, kind or k3d" ;;
esac
there "$kind_of" || die "$kind_of is not installed; install it, or name another with --with"
there helm || die "helm is not installed; see https://helm.sh/docs/intro/install"
there kubectl || die "kubectl is not installed; see https://kubernetes.io/docs/tasks/tools"
[ -z "$values" ] || [ -f "$values" ] || die "--values $values: no such file"

# 2. it runs
up() {
    case $kind_of in
    minikube) minikube status --profile "$cluster" >/dev/null 2>&1 ;;
    kind) kind get clusters 2>/dev/null | grep -qx "$cluster" ;;
    k3d) k3d cluster list "$cluster" >/dev/null 2>&1 ;;
    esac
}
case $kind_of in
minikube) context=$cluster ;;
*) context=$kind_of-$cluster ;;
esac
if ! up; then
    case $kind_of in
    minikube) run minikube start --profile "$cluster" ;;
    kind) run kind create cluster --name "$cluster" ;;
    k3d) run k3d cluster create "$cluster" ;;
    esac
fi

# 3. the image, in the nodes
builder=''
for each in docker podman; do
    if there "$each"; then
        builder=$each
        break
    fi
done
[ -n "$builder" ] || die "neither docker nor podman is installed: the image cannot be built or loaded"
if ! "$builder" image inspect "$image" >/dev/null 2>&1; then
    run make wheel
    run "$builder" build --tag "$image" --file lab/images/Containerfile .
fi
if [ "$builder" = podman ]; then # the three read archives of any builder, images of Docker alone
    archive=${TMPDIR:-/tmp}/loomidi-image-$$.tar
    trap 'rm -f "$archive"' EXIT
    run podman save --output "$archive" "$image"
    case $kind_of in
    minikube) run minikube image load --profile "$cluster" "$archive" ;;
    kind) run kind load image-archive --name "$cluster" "$archive" ;;
    k3d) run k3d image import --cluster "$cluster" "$archive" ;;
    esac
else
    case $kind_of in
    minikube) run minikube image load --profile "$cluster" "$image" ;;
    kind) run kind load docker-image --name "$cluster" "$image" ;;
    k3d) run k3d image import --cluster "$cluster" "$image" ;;
    esac
fi

# 4. the chart
if [ -n "$dry" ] || ! kubectl --context "$context" get namespace "$namespace" >/dev/null 2>&1; then
    run kubectl --context "$context" create namespace "$namespace"
fi
run kubectl --context "$context" label namespace "$namespace" pod-security.kubernetes.io/enforce=privileged --overwrite
run helm upgrade --install loomidi deployments/helm/loomidi --kube-context "$context" --namespace "$namespace" \
    --values deployments/minikube/values.yaml ${values:+--values "$values"} \
    --set "image.repository=${image%:*}" --set-string "image.tag=${image##*:}" --wait --timeout 5m
