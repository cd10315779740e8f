#!/bin/sh
# Run a command in development as the owner of this folder, to whom its files and the data then belong, whoever starts
# the container. With rootless Docker and with Podman the owner is root here, and you outside.
set -eu
if [ "$(id -u)" != 0 ]; then exec "$@"; fi
uid=${HOST_UID:-$(stat -c %u /app)} gid=${HOST_GID:-$(stat -c %g /app)}
find /data ! -user "$uid" -exec chown -h "$uid:$gid" {} + 2> /dev/null || true
HOME=/tmp exec setpriv --reuid "$uid" --regid "$gid" --clear-groups "$@"
