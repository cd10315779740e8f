#!/bin/sh
# Run a command in development as the owner of this folder, to whom its files and the data then belong, whoever starts
# the container. With rootless Docker and with Podman the owner is root here, and you outside.
set -eu
# Said before a command leaves half of a file behind.
full=$(df -Pk /app /data 2> /dev/null | awk 'NR > 1 && $2 > 0 && $4 < 1000 { print $6; exit }')
[ -z "$full" ] || { echo "The disk of $full is full: free some space" >&2; exit 1; }
if [ "$(id -u)" != 0 ]; then exec "$@"; fi
uid=${HOST_UID:-$(stat -c %u /app)} gid=${HOST_GID:-$(stat -c %g /app)}
find /data ! -user "$uid" -exec chown -h "$uid:$gid" {} + 2> /dev/null || true
HOME=/tmp exec setpriv --reuid "$uid" --regid "$gid" --clear-groups "$@"
