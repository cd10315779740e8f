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
{% include 'hooks/deploy/preflight.sh' %}

named=${TAG:-} was='' pull=${PULL:-$(setting PULL)}
if [ "$task" = rollback ]; then
    named=${2:-} pull=0
    [ -n "$named" ] || stop "Which version? Run make rollback TAG=...; data/releases lists the tags"
    # By its tag, or by the id of an image, if a version has had several.
    was=$(awk -v named="$named" '$2 == named || index($3, "=" named) { line = $0 } END { print line }' data/releases 2> /dev/null | cut -d ' ' -f 2-)
    TAG=${was%% *}
    TAG=${TAG:-$named}
else
    TAG=${named:-$(git rev-parse --short=12 HEAD 2>&1)} || stop "There is no commit to deploy: git says $(echo "$TAG" | head -n 1)"
    [ -n "$named" ] || [ -z "$(git status --porcelain)" ] || stop "There are uncommitted changes: commit them, because a version is a commit"
fi
export APP_USER TAG

stays='' running='' ran='' made='' settled='' handed='' restarted=''
# Put back what a deploy that fails or is interrupted has changed.
leave() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM PIPE
    set +e
    again $ran
    [ -z "$handed" ] || take_back
    [ -z "$settled" ] || only "$serving"
    [ -z "$made" ] || docker image rm "$image" > /dev/null 2>&1
{% if use_celery %}
    [ -z "$restarted" ] || [ -z "$running" ] || TAG=$running compose up --detach --no-deps worker beat
{% endif %}
    rm -f data/front/.web data/front/.next data/front/.Caddyfile
    exit "$status"
}
trap leave EXIT
trap 'stop "Interrupted$stays"' HUP INT TERM PIPE

settle
settled=1
ran=$(images) running=$(latest)
stays="${running:+, and $running stays up}"
{% include 'hooks/deploy/images.sh' %}

echo "$owned" > data/belongs-to
# Created here, because Docker would create them as root.
folders="{{ 'data/' ~ database ~ ' ' if has_database_server }}{{ 'data/redis ' if use_celery }}data/caddy data/front data/site"
mkdir -p $folders data/site/media
touch data/releases{{ ' data/site/db.sqlite3' if not has_database_server }}
# Earlier releases left these readable by every user of the host.
chmod go= data $folders {{ 'data/site/db.sqlite3 ' if not has_database_server }}secrets production.env
[ "$(id -u)" != 0 ] || chown -R "$APP_USER" data
said=$(compose run --rm -T --no-deps caddy caddy validate --config - --adapter caddyfile < Caddyfile 2>&1) ||
    stop "Caddy refuses the Caddyfile or a setting in production.env$stays: $(echo "$said" | tail -n 1)"
{% if servers %}
# A newer image restarts its server.
servers=$(compose config --services | grep -x{% for server in servers %} -e {{ server }}{% endfor %} || true)
[ -z "$servers" ] || compose up --detach --wait $servers || {
    reason=$(why $servers)
    again $ran
    [ -z "$ran" ] || compose up --detach $servers
    stop "{{ servers | join(' or ') | capitalize }} does not become healthy$stays: $reason"
}
ran=$(images)
{% endif %}
{% if database == 'postgres' %}
{% include 'hooks/production/owner.sh' %}
{% endif %}

if [ "$task" = deploy ]; then
    tell compose run --rm -T migrate || stop "The migrations failed$stays: $reason"
fi

{% include 'hooks/deploy/switch.sh' %}