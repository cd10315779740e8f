#!/bin/sh
# Create the secrets that an overlay needs. Existing ones are kept. OVERLAY=staging selects staging.
set -eu
umask 077
cd "$(dirname "$0")/../deploy/kubernetes/overlays"
[ -f "${OVERLAY:=production}/kustomization.yaml" ] || { echo "There is no overlay $OVERLAY: choose one in deploy/kubernetes/overlays" >&2; exit 1; }
cd "$OVERLAY"
mkdir -p secrets
chmod go= secrets

# secret NAME VALUE EXAMPLE
secret() {
    if [ -s "secrets/$1" ]; then
        echo "secrets/$1: kept"
    elif [ -n "$2" ]; then
        printf '%s\n' "$2" 2> /dev/null > "secrets/$1" || { echo "secrets/$1 cannot be written: is the disk full?" >&2; exit 1; }
        echo "secrets/$1: created"
    else
        echo "secrets/$1 is missing: run $3 make secrets OVERLAY=$OVERLAY" >&2
        exit 1
    fi
}

case "$(cat secrets/database_url 2> /dev/null || echo "${DATABASE_URL:-}")" in
    '' | {{ database_urls }}) ;;
    *) echo "secrets/database_url, or DATABASE_URL, is for another kind of database than {{ database_label }}: correct it, and run make secrets again" >&2; exit 1 ;;
esac
secret database_url "${DATABASE_URL:-}" DATABASE_URL={{ 'mysql' if uses_mysqlclient else 'postgres' }}://USER:PASSWORD@HOST:{{ 3306 if uses_mysqlclient else 5432 }}/NAME
{% if use_celery %}
secret redis_url "${REDIS_URL:-}" REDIS_URL=redis://:PASSWORD@HOST:6379
{% endif %}
secret secret_key "$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
