#!/bin/sh
# Deploy to production: `deploy.sh` the checked-out commit, `deploy.sh --rollback TAG` an earlier version.
task=deploy
[ "${1:-}" != --rollback ] || task=rollback
. "$(dirname "$0")/production.sh"
exec < /dev/null

# What is in the way is said before anything changes.
for secret in {{ 'secret_key database_password database_url' if has_database_server else 'secret_key' }}{{ ' redis.conf redis_url' if use_celery }}; do
    [ -s "secrets/$secret" ] || stop "secrets/$secret is missing or empty: run make secrets"
done
check_names

APP_USER=$(stat -c %u:%g secrets/secret_key)
[ "${APP_USER%%:*}" != 0 ] || stop "secrets/ belongs to root, but no container may run as root: run chown -R 10001:10001 secrets data"

mkdir -p data
alone 0
running=$(latest)
{% include 'hooks/deploy/preflight.sh' %}

if [ "$task" = rollback ]; then
    TAG=${2:-}
    [ -n "$TAG" ] || stop "Which version? Run make rollback TAG=...; data/releases lists the tags"
else
    [ -n "${TAG:-}" ] || [ -z "$(git status --porcelain)" ] || stop "There are uncommitted changes: commit them, because a version is a commit"
    TAG=${TAG:-$(git rev-parse --short=12 HEAD)}
fi
export APP_USER TAG

stays="${running:+, and $running stays up}" settled='' handed='' restarted=''
# Put back what a deploy that fails or is interrupted has changed.
leave() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM PIPE
    set +e
    [ -z "$handed" ] || take_back
    [ -z "$settled" ] || only "$serving"
{% if use_celery %}
    [ -z "$restarted" ] || [ -z "$running" ] || TAG=$running compose up --detach --no-deps worker beat
{% endif %}
    rm -f data/front/.web data/front/.next data/front/.Caddyfile
    exit "$status"
}
trap leave EXIT
trap 'stop "Interrupted$stays"' HUP INT TERM PIPE

image=$(setting IMAGE)
image=${image:-{{ project_slug }}}:$TAG
if ! docker image inspect "$image" > /dev/null 2>&1; then
    case "$image" in
        */*) docker pull --quiet "$image" || stop "$image cannot be pulled$stays: check that it is published and that this host is logged in to the registry" ;;
        *) [ "$task" = deploy ] || stop "There is no image $image: data/releases lists the tags"
           docker build --secret id=index-url,env=INDEX_URL --secret id=ca-cert,env=CA_CERT \
               --label "org.opencontainers.image.version=$TAG" --tag "$image" . || stop "The image of $TAG cannot be built$stays: see the message above" ;;
    esac
fi

echo "$owned" > data/belongs-to
# Created here, because Docker would create them as root.
folders="{{ 'data/' ~ database ~ ' ' if has_database_server }}{{ 'data/redis ' if use_celery }}data/caddy data/front data/site"
mkdir -p $folders data/site/media
touch data/releases{{ ' data/site/db.sqlite3' if not has_database_server }}
# Earlier releases left these readable by every user of the host.
chmod go= data $folders {{ 'data/site/db.sqlite3 ' if not has_database_server }}secrets production.env
[ "$(id -u)" != 0 ] || chown -R "$APP_USER" data
settle
settled=1
said=$(compose run --rm -T --no-deps caddy caddy validate --config - --adapter caddyfile < Caddyfile 2>&1) ||
    stop "Caddy refuses the Caddyfile or a setting in production.env$stays: $(echo "$said" | tail -n 1)"
{% if database == 'postgres' %}
{% include 'hooks/production/owner.sh' %}
{% endif %}

if [ "$task" = deploy ]; then
    compose run --rm -T migrate || stop "The migrations failed$stays: see the message above"
fi

{% include 'hooks/deploy/switch.sh' %}
