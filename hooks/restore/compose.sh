#!/bin/sh
# Replace the database and the uploads with those in a backup: `restore.sh FILE`, or with FROM=WHICH from elsewhere. If this fails, the old data stays.
task=restore
. "$(dirname "$0")/production.sh"
. scripts/restic.sh
use_current 0

# Check that the file is a complete backup of this site. tar's own error messages are hidden: they would not help.

{% include 'hooks/restore/check.sh' %}

# On the same file system as the data: moving what is prepared here into place takes no time.
new=data/.restored
{% if uses_mysqlclient %}
server={{ project_slug }}-restored
# The folder itself, where data/{{ database }} is a link to it.
folder=$(basename "$(readlink --canonicalize data/{{ database }})")
{% endif %}
stopped='' exchanged=''
{% if database == 'postgres' %}

query() {
    compose exec -T database psql --username "${superuser:-postgres}" --dbname postgres --quiet --no-psqlrc --set ON_ERROR_STOP=1 > /dev/null
}
{% endif %}

# Swap the prepared data and the site's. A second call swaps them back.
exchange() {
    mkdir -p "$new/was/site"
{% if database == 'postgres' %}
    query <<END
{% include 'hooks/restore/exchange.sql' %}
END
{% endif %}
    for name in site/media {{ {'sqlite': 'site/db.sqlite3 site/db.sqlite3-wal site/db.sqlite3-shm site/db.sqlite3-journal', 'postgres': ''}.get(database, '"$folder"') }}; do
        [ ! -e "data/$name" ] || mv "data/$name" "$new/was/$name"
        [ ! -e "$new/data/$name" ] || mv "$new/data/$name" "data/$name"
    done
    rm -r "$new/data"
    mv "$new/was" "$new/data"
}

stop_site() {
    # The server of uploads too: its mount would keep showing the old folder.
    compose stop caddy media web{{ ' worker beat' if use_celery }}{{ ' database' if uses_mysqlclient }}
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
        [ -z "$exchanged" ] || exchange
        compose up --detach --wait || echo "The site does not become healthy: see its logs" >&2
    fi
{% if database == 'postgres' %}
    echo 'DROP DATABASE IF EXISTS restored' | query 2> /dev/null
{% elif uses_mysqlclient %}
    docker rm --force "$server" > /dev/null 2>&1
{% endif %}
    # Keep the data that a failed exchange has moved away: the next restore prints where it is.
    rmdir "$new/was/site" "$new/was" 2> /dev/null
    [ -e "$new/was" ] || rm -rf "$new"
    exit "$status"
}
trap leave EXIT
trap 'exit 1' HUP INT TERM

# Leftovers of an interrupted restore, except data that it had moved away.
{% if uses_mysqlclient %}
docker rm --force "$server" > /dev/null 2>&1 || true
{% endif %}
if [ -e "$new/was" ]; then
    kept=data/was-$(date -u +%Y%m%dT%H%M%SZ)
    mv "$new/was" "$kept"
    echo "A restore was killed while it replaced the data. The data that it had moved away is in $kept" >&2
fi
{% include 'hooks/restore/unpack.sh' %}

# Prepare the data while the site keeps running.

mkdir -p "$new/data/site"
tar --extract --no-same-owner --preserve-permissions --file "$new/media.tar" --directory "$new/data/site"
rm "$new/media.tar"
{% if uses_mysqlclient %}
mkdir "$new/data/$folder"
{% elif not has_database_server %}
mv "$new/database" "$new/data/site/db.sqlite3"
{% endif %}
[ "$(id -u)" != 0 ] || chown -R "$APP_USER" "$new"
{% if database == 'postgres' %}
compose up --detach --wait database
# Before the first deploy with this version of the scripts, the superuser is app.
superuser=$(compose exec -T database psql --username app --dbname app --no-psqlrc --tuples-only --no-align --command \
    "SELECT CASE WHEN rolsuper THEN 'app' ELSE 'postgres' END FROM pg_roles WHERE rolname = 'app'" < /dev/null)
query <<END
DROP DATABASE IF EXISTS restored WITH (FORCE);
CREATE DATABASE restored OWNER app TEMPLATE template0;
END
compose exec -T database pg_restore --username "$superuser" --dbname restored --exit-on-error < "$new/database"
{% elif uses_mysqlclient %}
# Load it into a separate server: a dump is loaded table by table, and a failure would leave half of them.
compose run --detach --no-deps --name "$server" --volume "$PWD/$new/data/$folder:/var/lib/mysql" database > /dev/null
client='MYSQL_PWD=$(cat /run/secrets/database_password) {{ 'mariadb' if database == 'mariadb' else 'mysql' }} --host=127.0.0.1 --user=app app'
seconds=0
until docker exec "$server" sh -c "$client --execute='SELECT 1'" > /dev/null 2>&1; do
    seconds=$((seconds + 1))
    if [ "$seconds" -gt 120 ]; then
        docker logs --tail 20 "$server" >&2
        stop "The temporary database server that loads the backup does not start: see its log above"
    fi
    sleep 1
done
docker exec --interactive "$server" sh -c "$client" < "$new/database"
docker stop --time 60 "$server" > /dev/null
docker rm "$server" > /dev/null
{% else %}
compose run --rm -T --volume "$PWD/$new/data/site:/restored" migrate python -c '
import sqlite3
[found] = sqlite3.connect("file:/restored/db.sqlite3?mode=ro", uri=True).execute("PRAGMA integrity_check(1)").fetchone()
if found != "ok":
    raise SystemExit(f"The database in the backup is damaged: {found}. Choose another backup.")' < /dev/null
{% endif %}

# Replace the data.

stopped=1
stop_site
trap '' HUP INT TERM
exchange
exchanged=1
trap 'exit 1' HUP INT TERM
# Migrate an older database to the running version.
compose run --rm -T migrate < /dev/null
{% if use_celery %}
# The cache still holds the old data.
compose run --rm -T migrate python manage.py shell --no-imports -c 'from django.core.cache import cache; cache.clear()' < /dev/null
{% endif %}
compose up --detach --wait
stopped=''
echo "$file is restored, and $TAG is up; version $(manifest version) made the backup"
