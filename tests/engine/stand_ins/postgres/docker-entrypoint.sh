#!/usr/bin/env bash
# First boot and start of PostgreSQL, with the contract of the official image.
set -Eeuo pipefail

fail() {
    printf 'Error: %s\n' "$@" >&2
    exit 1
}

# setting NAME [DEFAULT]: export NAME from itself, or from the file that NAME_FILE names.
setting() {
    local name=$1 file=${1}_FILE value
    value=${!name:-}
    if [[ -n ${!file:-} ]]; then
        [[ -z $value ]] || fail "$name and $file are both set: they exclude each other."
        [[ -r ${!file} ]] || fail "$file names ${!file}, which cannot be read."
        value=$(< "${!file}")
    fi
    export "$name=${value:-${2:-}}"
    unset "$file"
}

# Run SQL over the Unix socket, whatever the caller's PG* variables say.
query() {
    PGHOST='' PGHOSTADDR='' psql --set ON_ERROR_STOP=1 --no-password --no-psqlrc --username "$POSTGRES_USER" "$@"
}

run_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh)
                printf '%s: running %s\n' "$0" "$script"
                # shellcheck source=/dev/null
                if [[ -x $script ]]; then "$script"; else . "$script"; fi
                ;;
            *.sql) printf '%s: running %s\n' "$0" "$script"; query --dbname "$POSTGRES_DB" --file "$script" ;;
            *.sql.gz) printf '%s: running %s\n' "$0" "$script"; gunzip --stdout "$script" | query --dbname "$POSTGRES_DB" ;;
            *.sql.xz) printf '%s: running %s\n' "$0" "$script"; xzcat "$script" | query --dbname "$POSTGRES_DB" ;;
            *.sql.zst) printf '%s: running %s\n' "$0" "$script"; zstd -dc "$script" | query --dbname "$POSTGRES_DB" ;;
            *) [[ ! -e $script ]] || printf '%s: ignoring %s\n' "$0" "$script" ;;
        esac
    done
}

# A user id without a name (docker run --user 1234) is enough for the server, but not for initdb.
name_user() {
    if getent passwd "$(id -u)" > /dev/null; then return; fi
    export NSS_WRAPPER_PASSWD=/tmp/passwd.$$ NSS_WRAPPER_GROUP=/tmp/group.$$
    printf 'postgres:x:%s:%s::%s:/bin/false\n' "$(id -u)" "$(id -g)" "$PGDATA" > "$NSS_WRAPPER_PASSWD"
    printf 'postgres:x:%s:\n' "$(id -g)" > "$NSS_WRAPPER_GROUP"
    LD_PRELOAD=$(ls /usr/lib/*-linux-gnu*/libnss_wrapper.so)
    export LD_PRELOAD
}

forget_user() {
    [[ -n ${NSS_WRAPPER_PASSWD:-} ]] || return 0
    rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
    unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
}

first_boot() {
    setting POSTGRES_PASSWORD
    setting POSTGRES_USER postgres
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS
    if [[ -z $POSTGRES_PASSWORD && ${POSTGRES_HOST_AUTH_METHOD:-} != trust ]]; then
        fail "The database is not initialized and no superuser password is given." \
            "Set POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE) to a value that is not empty." \
            "POSTGRES_HOST_AUTH_METHOD=trust lets everybody in without one, and is not recommended."
    fi

    local -a options="($POSTGRES_INITDB_ARGS)"
    if [[ -n $POSTGRES_PASSWORD ]]; then options+=(--pwfile /dev/stdin); fi
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then options+=(--waldir "$POSTGRES_INITDB_WALDIR"); fi
    name_user
    initdb --username "$POSTGRES_USER" --no-sync "${options[@]}" <<< "$POSTGRES_PASSWORD"
    forget_user
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption)}" >> "$PGDATA/pg_hba.conf"

    # No TCP yet: a client that waits for the port must not reach a server that is about to stop. No fsync yet either:
    # `initdb --sync-only`, below, writes the finished directory out once.
    export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
    shift
    pg_ctl --wait --silent --options "$(printf ' %q' "$@" -c listen_addresses= -p "${PGPORT:-5432}" -F)" start
    if [[ $POSTGRES_DB != postgres ]]; then
        query --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
    fi
    run_scripts
    pg_ctl --wait --silent --mode fast stop
    initdb --sync-only
    unset PGPASSWORD
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi
case " $* " in *" --help "* | *" -? "* | *" --version "* | *" -V "* | *" --describe-config "*) exec "$@" ;; esac
if [[ ${1:-} != postgres ]]; then exec "$@"; fi

# From 18 on the data is in a folder named after the version, and the volume is its parent.
old=/var/lib/postgresql/data
if [[ $PGDATA != "$old"* && ! -s $PGDATA/PG_VERSION ]] && { [[ -s $old/PG_VERSION ]] || grep -q " $old " /proc/self/mountinfo; }; then
    fail "A volume is mounted at $old, but this version keeps its data in $PGDATA: mount it at /var/lib/postgresql."
fi

if [[ $(id -u) == 0 ]]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres {} +
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        chown -R postgres "$POSTGRES_INITDB_WALDIR"
        chmod 700 "$POSTGRES_INITDB_WALDIR"
    fi
    export HOME=/var/lib/postgresql
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi

mkdir -p "$PGDATA"
chmod 700 "$PGDATA" || true
if [[ -s $PGDATA/PG_VERSION ]]; then
    printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
else
    first_boot "$@"
fi
exec "$@"
