#!/bin/sh
# Deploy to production: `deploy.sh` the checked-out commit, `deploy.sh --rollback TAG` an earlier version.
task=deploy
[ "${1:-}" != --rollback ] || task=rollback
. "$(dirname "$0")/production.sh"

for secret in {{ 'secret_key database_password database_url' if has_database_server else 'secret_key' }}{{ ' redis.conf redis_url' if use_celery }}; do
    [ -s "secrets/$secret" ] || stop "secrets/$secret is missing or empty: run make secrets"
done
grep -qs '^SITE_HOST=..*' production.env || stop "SITE_HOST is missing: add SITE_HOST=www.example.com to production.env"
line=$(grep -nE "^[A-Za-z_]+=([^'].*[^\\\$])?\\$[A-Za-z_{]" production.env | head -n 1)
[ -z "$line" ] || stop "production.env:${line%%:*} has a dollar sign, which Compose takes for a variable: write the value between single quotes"

APP_USER=$(stat -c %u:%g secrets/secret_key)
[ "${APP_USER%%:*}" != 0 ] || stop "secrets/ belongs to root, but no container may run as root: run chown -R 10001:10001 secrets data"

mkdir -p data
alone 0

if [ "$task" = rollback ]; then
    TAG=${2:-}
    [ -n "$TAG" ] || stop "Which version? Run make rollback TAG=...; data/releases lists the tags"
else
    [ -n "${TAG:-}" ] || [ -z "$(git status --porcelain)" ] || stop "There are uncommitted changes: commit them, because a version is a commit"
    TAG=${TAG:-$(git rev-parse --short=12 HEAD)}
fi
export APP_USER TAG

image=$(sed -n 's/^IMAGE=//p' production.env)
image=${image:-{{ project_slug }}}:$TAG
if ! docker image inspect "$image" > /dev/null 2>&1; then
    case "$image" in
        */*) docker pull --quiet "$image" || stop "$image cannot be pulled: check that it is published and that this host is logged in to the registry" ;;
        *) [ "$task" = deploy ] || stop "There is no image $image: data/releases lists the tags"
           docker build --secret id=index-url,env=INDEX_URL --secret id=ca-cert,env=CA_CERT \
               --label "org.opencontainers.image.version=$TAG" --tag "$image" . ;;
    esac
fi

echo "$owned" > data/belongs-to
# Created here, because Docker would create them as root.
folders="{{ 'data/' ~ database ~ ' ' if has_database_server }}{{ 'data/redis ' if use_celery }}data/caddy data/site"
mkdir -p $folders data/site/media
touch data/releases{{ ' data/site/db.sqlite3' if not has_database_server }}
# Earlier releases left these readable by every user of the host.
chmod go= data $folders {{ 'data/site/db.sqlite3 ' if not has_database_server }}secrets production.env
[ "$(id -u)" != 0 ] || chown -R "$APP_USER" data
{% if database == 'postgres' %}
{% include 'hooks/production/owner.sh' %}
{% endif %}

if [ "$task" = deploy ]; then
    compose run --rm migrate || stop "The migrations failed, and the running version stays up: see the message above"
fi
if ! compose up --detach --wait --remove-orphans; then
    compose logs --no-color --no-log-prefix --tail 20 web >&2
    stop "$TAG does not become healthy: see its log above. To go back, run make rollback TAG=$(tail -n 1 data/releases | cut -d ' ' -f 2)"
fi
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $TAG" >> data/releases
port=$(sed -n 's/^HTTPS_PORT=//p' production.env)
echo "$TAG is up at https://$(sed -n 's/^SITE_HOST=//p' production.env)${port:+:$port}"
