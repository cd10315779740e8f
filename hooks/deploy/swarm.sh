#!/bin/sh
# Deploy to the Swarm: `deploy.sh` the checked-out commit, `deploy.sh --rollback TAG` an earlier version.
task=deploy
[ "${1:-}" != --rollback ] || task=rollback
. "$(dirname "$0")/swarm.sh"
exec < /dev/null

# What is in the way is said before anything changes.
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
alone 0

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
    sed -n 's/@.*//; s|^.*[ /]||; {{ 's/^postgis:/postgres:/; ' if database == 'postgres' }}s/:\({{ database_series }}\).*/ \1/p'
}
SERVER=$(sed -n '/^  database:/,/^  [a-z]/s/^    image: //p' deploy/stack.yaml | tr -d '"' | series)
found=$({
    docker volume ls --filter "label=com.docker.stack.namespace=$STACK" --filter label=server --format '{% raw %}{{.Label "server"}}{% endraw %}'
    docker service inspect --format '{% raw %}{{.Spec.TaskTemplate.ContainerSpec.Image}}{% endraw %}' "${STACK}_database" 2> /dev/null | series
} | grep -vx "$SERVER" | head -n 1)
[ "${DATABASE_REPLICAS:-}" = 0 ] || [ -z "$found" ] ||
    stop "The volume ${STACK}_${found%% *} was written by $found, and $SERVER cannot read it: run make backup, docker service rm ${STACK}_database, docker volume rm ${STACK}_${found%% *}, make deploy, and make restore FILE=..."

# The volumes with the data are on one node: on another, the site would start empty.
placed=$(docker service inspect --format '{% raw %}{{range .Spec.TaskTemplate.Placement.Constraints}}{{println .}}{{end}}{% endraw %}' "${STACK}_database" 2> /dev/null || true)
[ -z "$placed" ] || [ "${DATA_NODE:-$placed}" = "$placed" ] ||
    stop "The data is on the node with $placed, but DATA_NODE is now $DATA_NODE, and a deploy does not move it: see \"Another node\" in README.md"
export DATA_NODE="${DATA_NODE:-${placed:-node.id==$(docker info --format '{% raw %}{{.Swarm.NodeID}}{% endraw %}')}}"

{% include 'hooks/deploy/swarm_preflight.sh' %}

# A container on another node lacks an upload, unless the volume is network storage: the site then warns.
NODES=$(echo "$nodes" | wc -l) UPLOADS=''
! sed -n '/^  site:/,/^  [a-z]/p' deploy/stack.yaml | grep -q driver || NODES=1
[ -z "$(setting STORAGE_URL)$(setting STORAGE_URL_FILE)" ] || UPLOADS=-moved
export NODES UPLOADS

running=$(latest)
up=$(docker service ps --quiet --filter desired-state=running "${STACK}_web" 2> /dev/null || true)
stays="${running:+${up:+, and $running stays up}}"
repository=${IMAGE:-$STACK}
if [ "$task" = rollback ]; then
    TAG=${2:-}
    [ -n "$TAG" ] || stop "Which version? Run make rollback TAG=...; data/releases lists the tags"
else
    [ -n "${TAG:-}" ] || said=$(git rev-parse HEAD 2>&1) || stop "There is no commit to deploy: git says $(echo "$said" | head -n 1)"
    [ -n "${TAG:-}" ] || [ -z "$(git status --porcelain)" ] || stop "There are uncommitted changes: commit them, because a version is a commit"
    TAG=${TAG:-$(git rev-parse --short=12 HEAD)}
fi

changing='' migrating=''
# Put back what a deploy that fails or is interrupted has changed, and say what still runs.
leave() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM PIPE
    set +e
    if [ -n "$changing" ] && [ -e data/stack.yaml ]; then
        echo "Going back to $running" >&2
        deploy_stack data/stack.yaml > /dev/null || echo "$running does not become healthy: make prod-status shows what runs" >&2
    fi
    [ -z "$changing" ] || rm -f data/.next.yaml
    rm -f data/.whole.yaml
    if [ -n "$migrating" ] && docker service inspect "${STACK}_migrate" > /dev/null 2>&1; then
        echo "The migrations go on in the service ${STACK}_migrate, and the next make deploy waits for them: docker service logs ${STACK}_migrate shows what they do, docker service rm ${STACK}_migrate ends them" >&2
    fi
    exit "$status"
}
trap leave EXIT
trap 'stop "Interrupted$stays"' HUP INT TERM PIPE
settle

IMAGE=$repository:$TAG
case "$IMAGE" in
    */*) docker pull --quiet "$IMAGE" > /dev/null || stop "$IMAGE cannot be pulled$stays: check that it is published and that this host is logged in to the registry"
         # All nodes run this very image, and a rollback too.
         digest=$(docker image inspect --format '{% raw %}{{range .RepoDigests}}{{println .}}{{end}}{% endraw %}' "$IMAGE" | sed -n "s|^$repository@||p" | head -n 1)
         IMAGE=${IMAGE%@*}${digest:+@$digest} ;;
    *) [ "$(echo "$nodes" | wc -l)" = 1 ] || stop "Other nodes cannot pull $IMAGE: add IMAGE=registry.example.com/... to production.env"
       docker image inspect "$IMAGE" > /dev/null 2>&1 || [ "$task" = deploy ] || stop "There is no image $IMAGE: data/releases lists the tags"
       docker image inspect "$IMAGE" > /dev/null 2>&1 || docker build --secret id=index-url,env=INDEX_URL --secret id=ca-cert,env=CA_CERT \
           --build-arg HTTP_PROXY --build-arg HTTPS_PROXY --build-arg NO_PROXY --label "org.opencontainers.image.version=$TAG" --tag "$IMAGE" . || stop "The image of $TAG cannot be built$stays: see the message above" ;;
esac

{% include 'hooks/deploy/signed.sh' %}

signed "$repository" "$IMAGE"
{% include 'hooks/deploy/swarm_caddy.sh' %}

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

# troubles: print what does not run, and why
troubles() {
    docker stack ps --no-trunc --filter desired-state=running --format '{% raw %}{{.Name}}: {{.CurrentState}} {{.Error}}{% endraw %}' "$STACK" | grep -v ': Running' || true
}

# The stack with the values of now: what the next deploy goes back to, should it fail. Dollar signs are not variables there.
whole=$(docker stack config --compose-file deploy/stack.yaml) || stop "$TAG cannot be deployed$stays: see the message above"
printf '%s\n' "$whole" | sed '/^ *env_file:$/,+1d; s/\$/$$/g' > data/.whole.yaml

if [ -z "$up" ]; then
    WEB_REPLICAS=0 WORKER_REPLICAS=0 BEAT_REPLICAS=0 deploy_stack deploy/stack.yaml || stop "What the site needs does not start: $(troubles)"
fi

if [ "$task" = deploy ]; then
    migrating=yes
    case "$(state "${STACK}_migrate" 2> /dev/null)" in
        Running* | Starting*)
            echo "The migrations of a deploy that was killed still run: waiting for them" >&2
            await "${STACK}_migrate" || true ;;
        *) docker service rm "${STACK}_migrate" > /dev/null 2>&1 || true ;;
    esac
    migrate data/.whole.yaml python manage.py migrate || stop "The migrations of $TAG failed$stays"
    # Ask the new version for a page before it takes over.
    said=$(migrate data/.whole.yaml python manage.py shell --no-imports -c '
from django.test import Client
raise SystemExit(Client().get("/", secure=True, headers={"host": "'"$SITE_HOST"'"}).status_code >= 500)') || stop "$said
$TAG fails to answer its home page$stays"
    migrating=''
fi

mv data/.whole.yaml data/.next.yaml
changing=yes
deployed=yes
deploy_stack data/.next.yaml || deployed=
{% include 'hooks/deploy/swarm_check.sh' %}
changing=''
mv data/.next.yaml data/stack.yaml
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $TAG" >> data/releases
for kind in config secret; do
    docker "$kind" ls --quiet --filter "label=site=$STACK" | while read -r each; do docker "$kind" rm "$each" > /dev/null 2>&1 || true; done
done
echo "$TAG is up at $SITE_ADDRESS"
