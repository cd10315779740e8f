#!/usr/bin/env bash
# First boot and start of MySQL, with the contract of the official image.
set -Eeuo pipefail

note() { printf '[Note] [Entrypoint]: %s\n' "$@"; }
fail() {
    printf '[ERROR] [Entrypoint]: %s\n' "$@" >&2
    exit 1
}

# setting NAME [DEFAULT]: export NAME from itself, or from the file that NAME_FILE names.
setting() {
    local name=$1 file=${1}_FILE value
    value=${!name:-}
    if [[ -n ${!file:-} ]]; then
        [[ -z $value ]] || fail "$name and $file are both set: they are exclusive."
        [[ -r ${!file} ]] || fail "$file names ${!file}, which cannot be read."
        value=$(< "${!file}")
    fi
    export "$name=${value:-${2:-}}"
    unset "$file"
}

# Run SQL as root, over the Unix socket.
query() { MYSQL_PWD=$password mysql --no-defaults --protocol=socket --socket="$socket" --user=root --comments "$@"; }

run_scripts() {
    local script into=()
    [[ -z $MYSQL_DATABASE ]] || into=(--database="$MYSQL_DATABASE")
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh)
                note "running $script"
                # shellcheck source=/dev/null
                if [[ -x $script ]]; then "$script"; else . "$script"; fi
                ;;
            *.sql) note "running $script"; query "${into[@]}" < "$script" ;;
            *.sql.bz2) note "running $script"; bunzip2 --stdout "$script" | query "${into[@]}" ;;
            *.sql.gz) note "running $script"; gunzip --stdout "$script" | query "${into[@]}" ;;
            *.sql.xz) note "running $script"; xzcat "$script" | query "${into[@]}" ;;
            *.sql.zst) note "running $script"; zstd -dc "$script" | query "${into[@]}" ;;
            *) [[ ! -e $script ]] || printf '[Warn] [Entrypoint]: ignoring %s\n' "$script" >&2 ;;
        esac
    done
}

first_boot() {
    setting MYSQL_ROOT_HOST '%'
    setting MYSQL_DATABASE
    setting MYSQL_USER
    setting MYSQL_PASSWORD
    setting MYSQL_ROOT_PASSWORD
    if [[ -z $MYSQL_ROOT_PASSWORD${MYSQL_ALLOW_EMPTY_PASSWORD:-}${MYSQL_RANDOM_ROOT_PASSWORD:-} ]]; then
        fail "Database is uninitialized and password option is not specified" \
            "You need to specify one of MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD and MYSQL_RANDOM_ROOT_PASSWORD"
    fi
    [[ $MYSQL_USER != root ]] || fail 'MYSQL_USER is "root", who is there anyway: set MYSQL_ROOT_PASSWORD instead.'
    if [[ -n ${MYSQL_RANDOM_ROOT_PASSWORD:-} ]]; then
        MYSQL_ROOT_PASSWORD=$(openssl rand -base64 24)
        note "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
    fi

    "$@" --initialize-insecure --default-time-zone=SYSTEM
    # No networking yet: a client must not reach a server that is about to stop. --daemonize returns once it is up.
    "$@" --daemonize --skip-networking --default-time-zone=SYSTEM --socket="$socket" || fail "Unable to start server."

    local password=''
    if [[ -z ${MYSQL_INITDB_SKIP_TZINFO:-} ]]; then
        mysql_tzinfo_to_sql /usr/share/zoneinfo 2> /dev/null | query --database=mysql
    fi
    # As in the official image, values are not escaped: one with a quote in it fails.
    query <<END
SET @@SESSION.SQL_LOG_BIN = 0;
$([[ $MYSQL_ROOT_HOST == localhost ]] || echo "
    CREATE USER 'root'@'$MYSQL_ROOT_HOST' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
    GRANT ALL ON *.* TO 'root'@'$MYSQL_ROOT_HOST' WITH GRANT OPTION;")
ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
END
    password=$MYSQL_ROOT_PASSWORD
    if [[ -n $MYSQL_DATABASE ]]; then query <<< "CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;"; fi
    if [[ -n $MYSQL_USER && -n $MYSQL_PASSWORD ]]; then
        query <<< "CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';"
        # In a GRANT, "_" matches any character.
        if [[ -n $MYSQL_DATABASE ]]; then query <<< "GRANT ALL ON \`${MYSQL_DATABASE//_/\\_}\`.* TO '$MYSQL_USER'@'%';"; fi
    fi
    run_scripts
    if [[ -n ${MYSQL_ONETIME_PASSWORD:-} ]]; then query <<< "ALTER USER 'root'@'%' PASSWORD EXPIRE;"; fi
    MYSQL_PWD=$password mysqladmin --no-defaults --protocol=socket --socket="$socket" --user=root shutdown
    printf '\n'
    note "MySQL init process done. Ready for start up."
    printf '\n'
}

if [[ ${1:-} == -* ]]; then set -- mysqld "$@"; fi
case " $* " in *" --help "* | *" -? "* | *" --version "* | *" -V "* | *" --print-defaults "*) exec "$@" ;; esac
if [[ ${1:-} != mysqld ]]; then exec "$@"; fi

# The settings that the server would start with: its defaults, those in files and those in arguments.
known=$(mktemp)
"$@" --verbose --help > "$known" 2> "$known.err" \
    || fail "mysqld failed while attempting to check config" "command was: $*" "$(< "$known.err")"
value() { awk -v name="$1" '$1 == name && /^[^ \t]/ { print $2; exit }' "$known"; }
datadir=$(value datadir) socket=$(value socket)
folders=("$datadir" "${socket%/*}" "$(value secure-file-priv)")
rm "$known" "$known.err"
mkdir -p "${folders[@]}"

if [[ $(id -u) == 0 ]]; then
    find "${folders[@]}" \! -user mysql -exec chown --no-dereference mysql {} +
    exec setpriv --reuid mysql --regid mysql --init-groups "$0" "$@"
fi

if [[ ! -d $datadir/mysql ]]; then first_boot "$@"; fi
exec "$@"
