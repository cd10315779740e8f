#!/usr/bin/env bash
# First boot and start of MariaDB, with the contract of the official image.
set -Eeuo pipefail

fail() {
    printf '[ERROR] [Entrypoint]: %s\n' "$@" >&2
    exit 1
}

# setting NAME [DEFAULT]: set MARIADB_NAME from itself, MARIADB_NAME_FILE, or the same two with MYSQL_.
setting() {
    local name file value='' prefix
    for prefix in MARIADB MYSQL; do
        name=${prefix}_$1 file=${prefix}_${1}_FILE
        if [[ -n ${!file:-} ]]; then
            [[ -z ${!name:-} ]] || fail "$name and $file are both set: they exclude each other."
            [[ -r ${!file} ]] || fail "$file names ${!file}, which cannot be read."
            value=${value:-$(< "${!file}")}
        fi
        value=${value:-${!name:-}}
        unset "$file"
    done
    export "MARIADB_$1=${value:-${2:-}}"
}

# A string literal, and a name, in SQL.
text() {
    local value=${1//\\/\\\\}
    printf "'%s'" "${value//\'/\\\'}"
}
name() { printf '`%s`' "${1//\`/\`\`}"; }

# Run SQL as root, over the Unix socket. $password stays empty until root has one.
query() { mariadb --no-defaults --protocol socket --socket "$socket" --user root --password="$password" --comments "$@"; }

run_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh)
                printf '[Note] [Entrypoint]: running %s\n' "$script"
                # shellcheck source=/dev/null
                if [[ -x $script ]]; then "$script"; else . "$script"; fi
                ;;
            *.sql) printf '[Note] [Entrypoint]: running %s\n' "$script"; query ${MARIADB_DATABASE:+"$MARIADB_DATABASE"} < "$script" ;;
            *.sql.gz) printf '[Note] [Entrypoint]: running %s\n' "$script"; gunzip --stdout "$script" | query ${MARIADB_DATABASE:+"$MARIADB_DATABASE"} ;;
            *.sql.xz) printf '[Note] [Entrypoint]: running %s\n' "$script"; xzcat "$script" | query ${MARIADB_DATABASE:+"$MARIADB_DATABASE"} ;;
            *.sql.zst) printf '[Note] [Entrypoint]: running %s\n' "$script"; zstd -dc "$script" | query ${MARIADB_DATABASE:+"$MARIADB_DATABASE"} ;;
            *) [[ ! -e $script ]] || printf '[Warn] [Entrypoint]: ignoring %s\n' "$script" ;;
        esac
    done
}

first_boot() {
    setting ROOT_HOST '%'
    setting DATABASE
    setting USER
    setting PASSWORD
    setting ROOT_PASSWORD
    setting ALLOW_EMPTY_ROOT_PASSWORD "${MYSQL_ALLOW_EMPTY_PASSWORD:-}"
    setting RANDOM_ROOT_PASSWORD
    setting INITDB_SKIP_TZINFO
    if [[ -z $MARIADB_ROOT_PASSWORD$MARIADB_ALLOW_EMPTY_ROOT_PASSWORD$MARIADB_RANDOM_ROOT_PASSWORD ]]; then
        fail "Database is uninitialized and password option is not specified" \
            "You need to specify one of MARIADB_ROOT_PASSWORD, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD and MARIADB_RANDOM_ROOT_PASSWORD"
    fi
    local root_password=$MARIADB_ROOT_PASSWORD
    if [[ -z $root_password && -n $MARIADB_RANDOM_ROOT_PASSWORD ]]; then
        root_password=$(head -c 24 /dev/urandom | base64)
        printf '[Note] [Entrypoint]: GENERATED ROOT PASSWORD: %s\n' "$root_password"
    fi

    mariadb-install-db --datadir="$datadir" --auth-root-authentication-method=normal --skip-test-db --skip-log-bin \
        --loose-innodb-buffer-pool-load-at-startup=0 > /dev/null
    # No networking yet: a client that waits for the port must not reach a server that is about to stop.
    "$@" --skip-networking --skip-log-bin --socket="$socket" --expire-logs-days=0 &
    local server=$! password='' tries=300
    until query --execute 'DO 0' 2> /dev/null; do
        kill -0 "$server" 2> /dev/null || fail "The server for the first boot ended; its messages are above."
        ((tries--)) || fail "The server for the first boot does not answer."
        sleep 0.1
    done

    {
        # Keep these statements out of the binary log, which replicas read.
        echo 'SET @@SESSION.SQL_LOG_BIN = 0; SET @@SESSION.SQL_MODE = REPLACE(@@SESSION.SQL_MODE, "NO_BACKSLASH_ESCAPES", "");'
        if [[ -z $MARIADB_INITDB_SKIP_TZINFO ]]; then
            echo 'USE mysql;'
            mariadb-tzinfo-to-sql --skip-write-binlog /usr/share/zoneinfo 2> /dev/null
        fi
        # The installation also creates these accounts, without a password.
        echo "DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1', 'root'@$(text "${HOSTNAME,,}");"
        local check_password host user
        check_password=$(head -c 24 /dev/urandom | base64)
        for host in 127.0.0.1 ::1 localhost; do
            user="'healthcheck'@'$host'"
            echo "CREATE USER $user IDENTIFIED BY $(text "$check_password"); GRANT USAGE ON *.* TO $user;"
        done
        printf '[mariadb-client]\nport=%s\nsocket=%s\nuser=healthcheck\npassword=%s\n' \
            "$port" "$socket" "$check_password" > "$datadir/.my-healthcheck.cnf"
        chmod 600 "$datadir/.my-healthcheck.cnf"
        if [[ -n $MARIADB_DATABASE ]]; then echo "CREATE DATABASE IF NOT EXISTS $(name "$MARIADB_DATABASE");"; fi
        if [[ -n $MARIADB_USER && -n $MARIADB_PASSWORD ]]; then
            user="$(text "$MARIADB_USER")@'%'"
            echo "CREATE USER $user IDENTIFIED BY $(text "$MARIADB_PASSWORD");"
            # In a GRANT, "_" matches any character.
            if [[ -n $MARIADB_DATABASE ]]; then echo "GRANT ALL ON $(name "${MARIADB_DATABASE//_/\\_}").* TO $user;"; fi
        fi
        if [[ $MARIADB_ROOT_HOST != localhost ]]; then
            user="'root'@$(text "$MARIADB_ROOT_HOST")"
            echo "CREATE USER $user IDENTIFIED BY $(text "$root_password"); GRANT ALL ON *.* TO $user WITH GRANT OPTION;"
        fi
        echo "SET PASSWORD FOR 'root'@'localhost' = PASSWORD($(text "$root_password"));"
    } | query
    password=$root_password
    run_scripts
    kill "$server"
    wait "$server" || fail "The server for the first boot did not stop well."
    printf '\n[Note] [Entrypoint]: MariaDB init process done. Ready for start up.\n\n'
}

if [[ ${1:-} == -* ]]; then set -- mariadbd "$@"; fi
if [[ ${1:-} == mysqld ]]; then set -- mariadbd "${@:2}"; fi
case " $* " in *" --help "* | *" -? "* | *" --version "* | *" -V "* | *" --print-defaults "*) exec "$@" ;; esac
if [[ ${1:-} != mariadbd ]]; then exec "$@"; fi

datadir=/var/lib/mysql socket=/run/mysqld/mysqld.sock port=3306
for option in "${@:2}"; do
    case $option in
        --datadir=*) datadir=${option#*=} ;;
        --socket=*) socket=${option#*=} ;;
        --port=*) port=${option#*=} ;;
    esac
done

if [[ $(id -u) == 0 ]]; then
    mkdir -p "$datadir" "${socket%/*}"
    find "$datadir" "${socket%/*}" \! -user mysql -exec chown mysql: {} +
    export HOME="$datadir"
    exec setpriv --reuid mysql --regid mysql --init-groups "$0" "$@"
fi

if [[ ! -d $datadir/mysql ]]; then first_boot "$@"; fi
exec "$@"
