#!/bin/sh
# Replace the database and the uploads with those in a backup: `restore.sh FILE`, or with FROM=WHICH from elsewhere. If this fails, the old data stays.
task=restore
. "$(dirname "$0")/swarm.sh"
. scripts/restic.sh
use_current 0

# Check that the file is a complete backup of this site. tar's own error messages are hidden: they would not help.

{% include 'hooks/restore/check.sh' %}

new=data/.restored
stopped='' exchanged=''

{% if database == 'postgres' %}
query() {
    docker exec --interactive "$database" psql --username postgres --dbname postgres --quiet --no-psqlrc --set ON_ERROR_STOP=1 > /dev/null
}

# Swap the prepared database and the site's. A second call swaps them back.
exchange_database() {
    query <<END
{% include 'hooks/restore/exchange.sql' %}
END
}

{% endif %}
# load FOLDER: replace the site's database with the dump in it
load() {
    if [ -z "$database" ]; then
        own "$1"
        client "$PWD/$1" <<'END'
{% include 'hooks/outside/load.sh' %}
END
        return
    fi
{% if database == 'postgres' %}
    exchange_database
{% else %}
    { echo 'DROP DATABASE app; CREATE DATABASE app; USE app;'; cat "$1/database"; } |
        docker exec --interactive "$database" sh -c 'MYSQL_PWD=$(cat /run/secrets/database_password) exec {{ 'mariadb' if database == 'mariadb' else 'mysql' }} --user=app'
{% endif %}
}

replace_uploads() {
    site sh -ec 'if [ -e media ]; then mv media .restored/was; fi; mv .restored/media media'
}

put_uploads_back() {
    site sh -ec 'if [ -e .restored/was ]; then rm -rf media; mv .restored/was media; fi'
}

stop_site() {
    docker service scale --detach=false {{ '"${STACK}_web=0" "${STACK}_worker=0" "${STACK}_beat=0"' if use_celery else '"${STACK}_web=0"' }} > /dev/null
    # Docker does not wait until they have finished their requests{{ ' and tasks' if use_celery }}.
    while docker service ps --format '{% raw %}{{.CurrentState}}{% endraw %}' {{ '"${STACK}_web" "${STACK}_worker" "${STACK}_beat"' if use_celery else '"${STACK}_web"' }} 2> /dev/null | grep -q '^Running'; do sleep 1; done
}

# Clean up; after a failure, also put the old data back and start the site.
leave() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM
    set +e
    if [ "$stopped" ]; then
        echo "The restore failed: putting the old data back" >&2
        stop_site
        put_uploads_back
        [ -z "$exchanged" ] || { load "$new/was" && exchanged=''; }
        deploy_stack data/stack.yaml > /dev/null || echo "The site does not become healthy: make prod-status shows what runs" >&2
    fi
{% if database == 'postgres' %}
    [ -z "$database" ] || echo 'DROP DATABASE IF EXISTS restored' | query 2> /dev/null
{% endif %}
    site rm -rf .restored
    # Keep the data that could not be put back: the next restore prints where it is.
    [ -n "$exchanged" ] || rm -rf "$new"
    exit "$status"
}
trap leave EXIT
trap 'exit 1' HUP INT TERM

# Leftovers of an interrupted restore, except data that it had moved away.
if [ -e "$new/was" ]; then
    kept=data/was-$(date -u +%Y%m%dT%H%M%SZ)
    mv "$new/was" "$kept"
    echo "A restore was killed while it replaced the data. The data that it had moved away is in $kept" >&2
fi
{% include 'hooks/restore/unpack.sh' %}

# Prepare the data while the site keeps running.

site sh -ec 'rm -rf .restored; mkdir .restored; tar --extract --no-same-owner --directory .restored' < "$new/media.tar"
rm "$new/media.tar"
{% if database == 'postgres' %}
if [ "$database" ]; then
    query <<END
DROP DATABASE IF EXISTS restored WITH (FORCE);
CREATE DATABASE restored OWNER app TEMPLATE template0;
END
    docker exec --interactive "$database" pg_restore --username postgres --dbname restored --exit-on-error < "$new/database"
fi
{% endif %}

# Replace the data.

stopped=1
stop_site
trap '' HUP INT TERM
mkdir "$new/was"
{% if database == 'postgres' %}
[ "$database" ] || dump "$new/was/database"
load "$new"
exchanged=1
{% else %}
dump "$new/was/database"
exchanged=1
load "$new"
{% endif %}
replace_uploads
trap 'exit 1' HUP INT TERM
# Migrate an older database to the running version.
migrate data/stack.yaml {{ "sh -ec 'python manage.py migrate; python manage.py shell --no-imports -c \"from django.core.cache import cache; cache.clear()\"'" if use_celery else 'python manage.py migrate' }}
deploy_stack data/stack.yaml > /dev/null
stopped='' exchanged=''
echo "$file is restored, and $TAG is up; version $(manifest version) made the backup"
