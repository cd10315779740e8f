#!/bin/sh
# Deploy to the Swarm: `deploy.sh` the checked-out commit, `deploy.sh --rollback TAG` an earlier version.
set -eu
cd "$(dirname "$0")/.."

stop() {
    echo "$1" >&2
    exit 1
}

# setting NAME: print its value in production.env
setting() {
    sed -n "s/^$1=//p" production.env 2> /dev/null | tail -n 1
}

[ "$(docker info --format '{% raw %}{{.Swarm.ControlAvailable}}{% endraw %}')" = true ] || stop "This host is not a Swarm manager: run docker swarm init, or run this on a manager"
for secret in secret_key database_password database_url{{ ' redis.conf redis_url' if use_celery }}; do
    [ -s "secrets/$secret" ] || stop "secrets/$secret is missing or empty: run make secrets"
done
{% include 'hooks/production/names.sh' %}

# Docker takes the values as they are: quotes and comments would become part of them.
read_settings() {
    odd=$(grep -nvE "^(#.*|[A-Za-z_][A-Za-z0-9_]*=(|[^\"'[:space:]]([^[:space:]]|[[:space:]]+[^#[:space:]])*))?$" production.env 2> /dev/null) || true
    [ -z "$odd" ] || stop "production.env, line $(echo "$odd" | head -n 1 | cut -d : -f 1): write NAME=VALUE, without quotes, export, and spaces around the equals sign or at the end; a comment needs its own line"
}

check_names
chmod go= production.env secrets
# Read as Docker does: NAME=VALUE lines, without quotes.
while IFS= read -r line; do
    case "$line" in SITE_HOST=*) ;; [A-Z]*=*) export "$line" ;; esac
done < production.env

STACK={{ project_slug }}
# Visitors that Docker's own proxy forwards, such as those with IPv6, arrive with this address.
GATEWAY=$(docker network inspect --format '{% raw %}{{(index .IPAM.Config 0).Gateway}}{% endraw %}' docker_gwbridge)

# hash FILE: the end of its name in the Swarm
hash() {
    sha256sum "$1" | cut -c 1-12
}

# After a change of project_slug, a second stack with empty volumes would start. The secrets are still the same.
other=$(docker service ls --quiet | xargs --no-run-if-empty docker service inspect |
    sed -n "s/.*\"SecretName\": \"\(.*\)_\(secret_key_$(hash secrets/secret_key)\|database_url_$(hash secrets/database_url)\)\".*/\1/p" |
    grep -vx "$STACK" | head -n 1)
[ -z "$other" ] || stop "This site is deployed as $other, but project_slug is now $STACK: set it back to $other, or see \"Another name\" in README.md"

# With another host in the URL, no database runs here. Otherwise it must be able to read the existing files: the service
# names its image, and the volume, which outlives the service, has a label.
grep -q '@database[:/]' secrets/database_url || export DATABASE_REPLICAS=0
# Leave out the registry, and the part of the version that does not change the file format.
series() {
    sed -n 's/@.*//; s|^.*[ /]||; s/:\({{ database_series }}\).*/ \1/p'
}
SERVER=$(sed -n '/^  database:/,/^  [a-z]/s/^    image: //p' deploy/stack.yaml | tr -d '"' | series)
found=$({
    docker volume ls --filter "label=com.docker.stack.namespace=$STACK" --filter label=server --format '{% raw %}{{.Label "server"}}{% endraw %}'
    docker service inspect --format '{% raw %}{{.Spec.TaskTemplate.ContainerSpec.Image}}{% endraw %}' "${STACK}_database" 2> /dev/null | series
} | grep -vx "$SERVER" | head -n 1)
[ "${DATABASE_REPLICAS:-}" = 0 ] || [ -z "$found" ] ||
    stop "The volume ${STACK}_${found%% *} was written by $found, and $SERVER cannot read it: dump it as README.md says, then docker service rm ${STACK}_database, docker volume rm ${STACK}_${found%% *}, make deploy, and load the dump"

running=$(docker service inspect --format '{% raw %}{{.Spec.TaskTemplate.ContainerSpec.Image}}{% endraw %}' "${STACK}_web" 2> /dev/null || true)

repository=${IMAGE:-{{ project_slug }}}
if [ "${1:-}" = --rollback ]; then
    TAG=${2:-}
    [ -n "$TAG" ] || stop "Which version? Run make rollback TAG=..."
else
    [ -n "${TAG:-}" ] || [ -z "$(git status --porcelain)" ] || stop "There are uncommitted changes: commit them, because a version is a commit"
    TAG=${TAG:-$(git rev-parse --short=12 HEAD)}
fi
IMAGE=$repository:$TAG
case "$IMAGE" in
    */*) docker pull --quiet "$IMAGE" > /dev/null || stop "$IMAGE cannot be pulled: check that it is published and that this host is logged in to the registry"
         resolve=always ;;
    *) [ "$(docker node ls --quiet | wc -l)" = 1 ] || stop "Other nodes cannot pull $IMAGE: add IMAGE=registry.example.com/... to production.env"
       docker image inspect "$IMAGE" > /dev/null 2>&1 || [ "${1:-}" != --rollback ] || stop "There is no image $IMAGE: docker image ls $repository lists the tags"
       docker image inspect "$IMAGE" > /dev/null 2>&1 || docker build \
           --secret id=index-url,env=INDEX_URL --secret id=ca-cert,env=CA_CERT --label "org.opencontainers.image.version=$TAG" --tag "$IMAGE" .
       resolve=never ;;
esac

# keep config|secret NAME FILE: create it with a hash of its content in the name, and set NAME_HASH for the stack
keep() {
    hash=$(hash "$3")
    name=$(echo "$2" | tr '[:lower:].' '[:upper:]_')
    export "${name}_HASH=$hash"
    docker "$1" inspect "${STACK}_$2_$hash" > /dev/null 2>&1 || docker "$1" create --label "site=$STACK" "${STACK}_$2_$hash" "$3" > /dev/null
}

keep config caddyfile Caddyfile
{% if database == 'postgres' %}
keep config owner deploy/owner.sql
{% endif %}
keep secret secret_key secrets/secret_key
keep secret database_password secrets/database_password
keep secret database_url secrets/database_url
{% if use_celery %}
keep secret redis_conf secrets/redis.conf
keep secret redis_url secrets/redis_url
{% endif %}
export STACK IMAGE SERVER GATEWAY

# Show progress in a terminal only: in a log it would be hundreds of lines.
quiet=$([ -t 1 ] || echo --quiet)
deploy_stack() {
    docker stack deploy $quiet --detach=false --with-registry-auth --resolve-image "$resolve" --prune --compose-file deploy/stack.yaml "$STACK"
}

if [ -z "$running" ]; then
    WEB_REPLICAS=0 WORKER_REPLICAS=0 BEAT_REPLICAS=0 deploy_stack
fi

if [ "${1:-}" != --rollback ]; then
    migrate=${STACK}_migrate
    ! docker service inspect "$migrate" > /dev/null 2>&1 ||
        stop "Another make deploy is migrating: wait for it. If it was killed: docker service rm $migrate"
    docker service create --quiet --detach --name "$migrate" --mode replicated-job --restart-condition none --no-resolve-image --with-registry-auth \
        --network "${STACK}_backend" --network "${STACK}_frontend" --read-only --cap-drop ALL --init --no-healthcheck --mount type=tmpfs,destination=/tmp \
        --secret "source=${STACK}_secret_key_$SECRET_KEY_HASH,target=secret_key" --env SECRET_KEY_FILE=/run/secrets/secret_key \
        --secret "source=${STACK}_database_url_$DATABASE_URL_HASH,target=database_url" --env DATABASE_URL_FILE=/run/secrets/database_url \
{% if use_celery %}
        --secret "source=${STACK}_redis_url_$REDIS_URL_HASH,target=redis_url" --env REDIS_URL_FILE=/run/secrets/redis_url \
{% endif %}
        --env-file production.env "$IMAGE" python manage.py migrate > /dev/null
    # Poll, because Docker would keep waiting for a job that has failed.
    while :; do
        state=$(docker service ps --format '{% raw %}{{.CurrentState}}{% endraw %}' "$migrate" | head -n 1)
        case "$state" in Complete* | Failed* | Rejected* | Shutdown*) break ;; esac
        sleep 1
    done
    docker service logs --raw "$migrate" 2>&1 || true
    docker service rm "$migrate" > /dev/null
    case "$state" in
        Complete*) ;;
        *) stop "The migrations of $TAG failed${running:+, and ${running#"$repository:"} stays up}" ;;
    esac
fi

services="web{{ ' worker beat' if use_celery }}"
# Print the services whose last update was rolled back or paused, and when it started
undone() {
    for service in $services; do
        docker service inspect --format "{% raw %}{{if .UpdateStatus}}$service {{.UpdateStatus.State}} {{.UpdateStatus.StartedAt}}{{end}}{% endraw %}" "${STACK}_$service"
    done | sed -n '/ rollback\| paused/p'
}
before=$(undone)
deployed=yes
deploy_stack || deployed=
failed=$(undone | grep --invert-match --line-regexp --fixed-strings "$before" | tail -n 1 | cut -d ' ' -f 1)
if [ -n "$failed" ]; then
    tasks=$(docker service ps --no-trunc --format '{% raw %}{{.Image}} {{.ID}} {{.Error}}{% endraw %}' "${STACK}_$failed" | grep --fixed-strings "$IMAGE" || true)
    worst=$(echo "$tasks" | grep --max-count 1 '"' || echo "$tasks" | head -n 1)
    docker service logs --raw --tail 10 "$(echo "$worst" | cut -d ' ' -f 2)" >&2 || true
    reason=$(echo "$worst" | cut -d ' ' -f 3-)
    echo "$failed: ${reason:-its health check does not pass}" >&2
    # Swarm has already rolled this service back. Roll back the others too.
    for service in $services; do
        [ "$service" = "$failed" ] || docker service rollback --quiet --detach=false "${STACK}_$service" > /dev/null || true
    done
    stop "$TAG does not become healthy${running:+, and ${running#"$repository:"} stays up}"
fi
[ -n "$deployed" ] || stop "$TAG cannot be deployed${running:+, and ${running#"$repository:"} stays up}"
for kind in config secret; do
    docker "$kind" ls --quiet --filter "label=site=$STACK" | while read -r each; do docker "$kind" rm "$each" > /dev/null 2>&1 || true; done
done
echo "$TAG is up at $SITE_ADDRESS"
