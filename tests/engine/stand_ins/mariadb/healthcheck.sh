#!/usr/bin/env bash
# Exit 0 if all requested conditions hold, as the official image's healthcheck.sh does.
set -euo pipefail

datadir=/var/lib/mysql

query() {
    mariadb --defaults-extra-file="$datadir/.my-healthcheck.cnf" --batch --skip-column-names --execute "$1" "${@:2}"
}

# Over TCP: during the first boot, the server listens on its socket only.
connect() {
    [[ $(query 'SELECT 1' --host 127.0.0.1 --protocol tcp --connect-timeout 3) == 1 ]]
}

innodb_initialized() {
    local sql="SELECT 1 FROM information_schema.ENGINES WHERE engine = 'InnoDB' AND support IN ('YES', 'DEFAULT')"
    [[ $(query "$sql" --protocol socket) == 1 ]]
}

[[ $# -gt 0 ]] || { echo "healthcheck.sh needs a condition: --connect or --innodb_initialized" >&2; exit 1; }
for option; do
    case $option in
        --datadir=*) datadir=${option#*=} ;;
        --connect) connect || { echo "healthcheck connect failed" >&2; exit 1; } ;;
        --innodb_initialized) innodb_initialized || { echo "healthcheck innodb_initialized failed" >&2; exit 1; } ;;
        --su-mysql | --su=*) ;;  # the account's file is readable by root and by mysql alike
        *) echo "healthcheck.sh: $option is not known to this stand-in" >&2; exit 1 ;;
    esac
done
