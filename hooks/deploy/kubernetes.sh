#!/bin/sh
# Deploy to the cluster: `deploy.sh` the checked-out commit, `deploy.sh --rollback TAG` an earlier version.
# OVERLAY=staging selects staging; TAG=... selects another version, by its tag or its digest, sha256:...
set -eu
cd "$(dirname "$0")/.."
{% include 'hooks/production/cluster.sh' %}
site={{ '"web, worker, beat"' if use_celery else 'web' }}
kinds=deployment,horizontalpodautoscaler,poddisruptionbudget,service,ingress
component=app.kubernetes.io/component
! grep -q 'example\.com' "$overlay/kustomization.yaml" || stop "$overlay/kustomization.yaml still contains example.com: replace it with the site's host name and the image's name"
for secret in secret_key database_url{{ ' redis_url' if use_celery }}; do
    [ -s "$overlay/secrets/$secret" ] || stop "$overlay/secrets/$secret is missing or empty: run make secrets OVERLAY=$OVERLAY"
done

if [ "${1:-}" = --rollback ]; then
    TAG=${2:-}
    [ -n "$TAG" ] || stop "Which version? Run make rollback TAG=...; kubectl --namespace $namespace get replicasets --output wide lists them"
else
    [ -n "${TAG:-}" ] || said=$(git rev-parse HEAD 2>&1) || stop "There is no commit to deploy: git says $(echo "$said" | head -n 1)"
    [ -n "${TAG:-}" ] || [ -z "$(git status --porcelain)" ] || stop "There are uncommitted changes: commit them, because a version is a commit"
    TAG=${TAG:-$(git rev-parse --short=12 HEAD)}
fi
case "$TAG" in
    latest) stop "latest is not a version, because it can mean another image tomorrow: use a commit's tag" ;;
    sha256:*) version=@$TAG ;;
    *) version=:$TAG ;;
esac

context=$(kubectl config current-context 2> /dev/null) || stop "kubectl has no current context: choose one with kubectl config use-context"
manifests=$(kubectl kustomize "$overlay") || stop "$overlay cannot be built: see the message above"
manifests=$(printf '%s\n' "$manifests" | sed "s|:set-by-make-deploy$|$version|")

# apply SELECTOR: apply the manifests that it selects
apply() {
    printf '%s\n' "$manifests" | cluster apply --filename - --selector "$1"
}

if [ -n "${COSIGN_VERIFY:-}" ]; then
    command -v cosign > /dev/null || stop "cosign is missing: install it as described at https://docs.sigstore.dev/cosign/system_config/installation/"
    [ "${version%%:*}" = @sha256 ] || stop "COSIGN_VERIFY needs the digest, because a tag can be moved: run make deploy TAG=sha256:..."
    image=$(printf '%s\n' "$manifests" | sed -n "s/^ *image: \(.*$version\)\$/\1/p" | head -n 1)
    cosign verify $COSIGN_VERIFY "$image" > /dev/null || stop "$image is not signed as COSIGN_VERIFY asks, and the running version stays up: see the message above"
fi

cluster version --request-timeout 20s > /dev/null || stop "The cluster $context does not answer: kubectl cluster-info shows why"
echo "$TAG goes to $namespace in the cluster $context"

migrate() {
    [ -z "$(cluster get job migrate --ignore-not-found --output jsonpath='{.status.active}')" ] || stop "Another deploy is migrating: wait for it"
    # Wait until its pod is gone too: it would be mistaken for the new one's.
    cluster delete job migrate --ignore-not-found --cascade=foreground
    apply "$component=migrate" || stop "The cluster rejects the migration Job, and the running version stays up: see the message above"
    while :; do
        # How the Job ended, or why its pod is waiting.
        state=$(cluster get job,pod --selector "$component=migrate" --output \
            jsonpath='{.items[*].status.conditions[?(@.status=="True")].type} {.items[*].status.containerStatuses[*].state.waiting.reason}') || true
        case "$state" in
            *Complete*) break ;;
            *Failed*)
                cluster logs job/migrate --tail 20 >&2 || true
                stop "The migrations failed, and the running version stays up: see the message above" ;;
            *ImagePullBackOff* | *InvalidImageName* | *CreateContainer*Error*)
                cluster describe pod --selector "$component=migrate" | tail -n 5 >&2
                cluster delete job migrate --cascade=foreground >&2
                stop "$TAG cannot be started, and the running version stays up: see the message above" ;;
        esac
        sleep 2
    done
}

# Not `rollout undo`: the next apply would not see what that restored, and would leave it in place.
before=$(cluster apply view-last-applied $kinds --selector "$component in ($site)" --output json)

# undo REASON
undo() {
    [ -z "$before" ] || printf '%s\n' "$before" | cluster apply --filename - >&2
    stop "$1. The previous version, if any, has been applied again"
}

# ready NAME: wait until its new pods are ready, or undo
ready() {
    cluster rollout status "deployment/$1" && return
    newest=$(cluster get pods --selector "$component=$1" --sort-by .metadata.creationTimestamp --output name | tail -n 1)
    cluster logs "$newest" --tail 20 >&2 || true
    undo "$TAG does not become ready"
}

apply "$component notin (migrate, backup, $site)" || stop "The cluster rejects the settings, and the running version stays up: see the message above"
[ "${1:-}" = --rollback ] || migrate
apply "$component in ($site)" || undo "The cluster rejects $TAG"
# After `make prod-stop`: the autoscaler starts only what has one pod.
[ "$(cluster get deployment web --output jsonpath='{.spec.replicas}')" != 0 ] || cluster scale --replicas 1 deployment web
ready web
{% if use_celery %}
ready worker
ready beat
{% endif %}
# With an image that runs.
! printf '%s\n' "$manifests" | grep -q "$component: backup" || apply "$component=backup" ||
    stop "$TAG is up, but the cluster rejects its backups: see the message above"
echo "$TAG is up at https://$(sed -n 's/.*ALLOWED_HOSTS=//p' "$overlay/kustomization.yaml")"
