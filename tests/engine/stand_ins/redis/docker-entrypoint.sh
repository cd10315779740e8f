#!/bin/sh
# Start Redis or Valkey, with the contract of the official image.
set -eu

server=redis-server
if [ -x /usr/bin/valkey-server ]; then server=valkey-server; fi
case ${1:-} in
    -* | *.conf) set -- "$server" "$@" ;;
    redis-server | valkey-server) shift && set -- "$server" "$@" ;;
    *) exec "$@" ;;
esac
case " $* " in *" --version "* | *" -v "* | *" --help "* | *" -h "*) exec "$@" ;; esac

# The official images are built with protected mode off: only published ports are reachable from outside.
# The caller's options come later on the command line, and win.
shift
case ${1:-} in
    '' | -*) set -- --protected-mode no "$@" ;;
    *) if ! grep -qs '^protected-mode' "$1"; then conf=$1 && shift && set -- "$conf" --protected-mode no "$@"; fi ;;
esac

if [ "$(umask)" = 0022 ]; then umask 0077; fi
if [ "$(id -u)" != 0 ]; then exec "$server" "$@"; fi
user=${server%-server}
find . \! -user "$user" -exec chown "$user" {} +
export HOME=/data
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$server" "$@"
