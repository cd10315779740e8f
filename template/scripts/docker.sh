#!/bin/sh
# Stop with one sentence unless Docker answers and is new enough, as Debian 13's own packages are. `docker.sh engine` does
# not ask for Compose.
set -eu
stop() {
    echo "$1" >&2
    exit 1
}

# at_least NAME VERSION FOUND
at_least() {
    [ "$(printf '%s\n' "$2" "$3" | sort -V | head -n 1)" = "$2" ] || stop "$1 $3 is too old: install $2 or newer"
}

command -v docker > /dev/null || stop "Docker is missing: install it as described at https://docs.docker.com/engine/install/"
# Podman has no component called Engine, and may not know the format.
found=$(docker version --format '{{range .Server.Components}}{{println .Name .Version}}{{end}}' 2>&1) || case "$found" in
    *template:*) ;;
    *"permission denied"*) stop "You may not use Docker: join its group with sudo usermod --append --groups docker $(id -un), then sign in again" ;;
    *) stop "Docker does not answer: start it ($(echo "$found" | tail -n 1))" ;;
esac
engine=$(echo "$found" | sed -n 's/^Engine //p')
at_least Docker 26.1 "${engine:-26.1}"
[ "${1:-}" != engine ] || exit 0
compose=$(docker compose version --short 2> /dev/null) || stop "Docker Compose is missing: install docker-compose-plugin, or with Debian's Docker docker-compose"
at_least "Docker Compose" 2.26 "${compose#v}"
