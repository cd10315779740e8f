#!/bin/sh
# Create the secrets that production needs. Existing ones are kept.
set -eu
umask 077
cd "$(dirname "$0")/.."
mkdir -p secrets
chmod go= secrets

# secret NAME VALUE
secret() {
    if [ -s "secrets/$1" ]; then
        echo "secrets/$1: kept"
    else
        printf '%s\n' "$2" 2> /dev/null > "secrets/$1" || { echo "secrets/$1 cannot be written: is the disk full?" >&2; exit 1; }
        echo "secrets/$1: created"
    fi
}

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

{% if servers %}
# encoded PASSWORD: print it as it stands in a URL
encoded() {
    case "$1" in
        *[!A-Za-z0-9._~-]*) printf %s "$1" | od -An -v -tx1 | tr -d '\n' | tr ' ' % ;;
        *) printf %s "$1" ;;
    esac
}

{% endif %}
secret secret_key "$(random)"
{% if has_database_server %}
secret database_password "$(random)"
secret database_url "{{ 'mysql' if uses_mysqlclient else 'postgres' }}://app:$(encoded "$(cat secrets/database_password)")@database:{{ 3306 if uses_mysqlclient else 5432 }}/app"
case "$(cat secrets/database_url)" in
    {{ database_urls }}) ;;
    *) echo "secrets/database_url is for another kind of database than {{ database_label }}: move it away, and run make secrets again" >&2; exit 1 ;;
esac
{% endif %}
{% if use_celery %}
secret redis.conf "requirepass $(random)"
secret redis_url "redis://:$(encoded "$(sed -n 's/^requirepass //p' secrets/redis.conf)")@redis:6379"
{% endif %}

# Containers run as the owner of these files, the only user that can read them. It must not be root.
if [ "$(id -u)" = 0 ]; then
    chown -R "${APP_USER:-10001:10001}" secrets
fi
