#!/bin/sh
# Deploy to the cluster: `deploy.sh` the checked-out commit, `deploy.sh --rollback TAG` an earlier version.
# OVERLAY=staging selects staging; TAG=... selects another version, by its tag or its digest, sha256:...
set -eu
cd "$(dirname "$0")/.."
overlay=deploy/kubernetes/overlays/${OVERLAY:=production}
site={{ '"web, worker, beat"' if use_celery else 'web' }}
kinds=deployment,horizontalpodautoscaler,poddisruptionbudget,service,ingress
component=app.kubernetes.io/component

stop() {
    echo "$1" >&2
    exit 1
}

command -v kubectl > /dev/null || stop "kubectl is missing: https://kubernetes.io/docs/tasks/tools/ tells how to install it"
[ -f "$overlay/kustomization.yaml" ] || stop "There is no overlay $OVERLAY: deploy/kubernetes/overlays has them"
namespace=$(sed -n 's/^namespace: //p' "$overlay/kustomization.yaml" | tr -d '"')
! grep -q 'example\.com' "$overlay/kustomization.yaml" || stop "$overlay/kustomization.yaml still says example.com: write the site's name there, and its image's"
for secret in secret_key database_url{{ ' redis_url' if use_celery }}; do
    [ -s "$overlay/secrets/$secret" ] || stop "$overlay/secrets/$secret is missing or empty: run make secrets OVERLAY=$OVERLAY"
done

if [ "${1:-}" = --rollback ]; then
    TAG=${2:-}
    [ -n "$TAG" ] || stop "Which version? make rollback TAG=... ; kubectl --namespace $namespace get replicasets --output wide lists them"
else
    [ -n "${TAG:-}" ] || [ -z "$(git status --porcelain)" ] || stop "There are changes that are not committed: commit them, for a version is a commit"
    TAG=${TAG:-$(git rev-parse --short=12 HEAD)}
fi
case "$TAG" in
    latest) stop "latest is no version: it names another image every time" ;;
    sha256:*) version=@$TAG ;;
    *) version=:$TAG ;;
esac

context=$(kubectl config current-context 2> /dev/null) || stop "kubectl has no cluster: kubectl config use-context chooses one"
manifests=$(kubectl kustomize "$overlay") || stop "$overlay cannot be built: the lines above tell why"
manifests=$(printf '%s\n' "$manifests" | sed "s|:set-by-make-deploy$|$version|")

# The context by its name, because another terminal could switch it meanwhile.
cluster() {
    kubectl --context "$context" --namespace "$namespace" "$@"
}

# apply SELECTOR: apply the manifests that it selects
apply() {
    printf '%s\n' "$manifests" | cluster apply --filename - --selector "$1"
}

cluster version --request-timeout 20s > /dev/null || stop "The cluster $context does not answer: kubectl cluster-info tells why"
echo "$TAG goes to $namespace in the cluster $context"

migrate() {
    [ -z "$(cluster get job migrate --ignore-not-found --output jsonpath='{.status.active}')" ] || stop "Another deploy is migrating: wait for it"
    # With its pod, which would be mistaken for the new one's.
    cluster delete job migrate --ignore-not-found --cascade=foreground
    apply "$component=migrate" || stop "The cluster refuses the migrations, and the version that runs goes on running"
    while :; do
        # How the Job ended, or why its pod is waiting.
        state=$(cluster get job,pod --selector "$component=migrate" --output \
            jsonpath='{.items[*].status.conditions[?(@.status=="True")].type} {.items[*].status.containerStatuses[*].state.waiting.reason}') || true
        case "$state" in
            *Complete*) break ;;
            *Failed*)
                cluster logs job/migrate --tail 20 >&2 || true
                stop "The migrations failed, and the version that runs goes on running" ;;
            *ImagePullBackOff* | *InvalidImageName* | *CreateContainer*Error*)
                cluster describe pod --selector "$component=migrate" | tail -n 5 >&2
                cluster delete job migrate --cascade=foreground >&2
                stop "$TAG cannot be started, and the version that runs goes on running" ;;
        esac
        sleep 2
    done
}

# Not `rollout undo`: the next apply would not see what that restored, and would leave it in place.
before=$(cluster apply view-last-applied $kinds --selector "$component in ($site)" --output json)

# undo REASON
undo() {
    [ -z "$before" ] || printf '%s\n' "$before" | cluster apply --filename - >&2
    stop "$1, and the version before comes back, if there was one"
}

# ready NAME: wait until its new pods are ready, or undo
ready() {
    cluster rollout status "deployment/$1" && return
    newest=$(cluster get pods --selector "$component=$1" --sort-by .metadata.creationTimestamp --output name | tail -n 1)
    cluster logs "$newest" --tail 20 >&2 || true
    undo "$TAG does not get ready"
}

apply "$component notin (migrate, $site)" || stop "The cluster refuses the settings, and the version that runs goes on running"
[ "${1:-}" = --rollback ] || migrate
apply "$component in ($site)" || undo "The cluster refuses $TAG"
ready web
{% if use_celery %}
ready worker
ready beat
{% endif %}
echo "$TAG is up at https://$(sed -n 's/.*ALLOWED_HOSTS=//p' "$overlay/kustomization.yaml")"
