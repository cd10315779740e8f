overlay=deploy/kubernetes/overlays/${OVERLAY:=production}

stop() {
    echo "$1" >&2
    exit 1
}

# Name the context, because another terminal could switch it meanwhile.
cluster() {
    kubectl --context "$context" --namespace "$namespace" "$@"
}

command -v kubectl > /dev/null || stop "kubectl is missing: install it as described at https://kubernetes.io/docs/tasks/tools/"
[ -f "$overlay/kustomization.yaml" ] || stop "There is no overlay $OVERLAY: choose one in deploy/kubernetes/overlays"
[ ! -d "$overlay/secrets" ] || [ -x "$overlay/secrets" ] || stop "You may not read $overlay/secrets: run this as its owner, or as root"
namespace=$(sed -n 's/^namespace: //p' "$overlay/kustomization.yaml" | tr -d '"')
