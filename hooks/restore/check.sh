file=${1:-}
[ -n "$file" ] || [ -z "${FROM:-}" ] || fetch "$FROM"
[ -n "$file" ] || stop "Which backup? Run make restore FILE=backups/..., or FROM=latest for one that is elsewhere"
[ -f "$file" ] || stop "There is no file $file"
damaged="$file is damaged, or was not written by make backup: choose another file"
# tar writes blocks of this size, and would not report a last one that is cut off.
[ -s "$file" ] && [ $(($(stat -c %s "$file") % 10240)) = 0 ] || stop "$damaged"
[ "$(tar --list --file "$file" 2> /dev/null)" = "$(printf '%s\n' manifest database media.tar SHA256SUMS)" ] || stop "$damaged"
! tar --list --verbose --file "$file" 2> /dev/null | grep -qv '^-' || stop "$damaged"

# manifest NAME: print its value in the manifest
manifest() {
    tar --extract --to-stdout --file "$file" manifest 2> /dev/null | sed -n "s/^$1=\([A-Za-z0-9._:@-]*\)$/\1/p" | head -n 1
}

[ "$(manifest project)" = {{ project_slug }} ] || stop "$file is not a backup of {{ project_slug }}, but of: $(manifest project)"
[ "$(manifest database)" = {{ database }} ] || stop "$file is not a backup of {{ database }}, but of: $(manifest database)"
[ "$(manifest format)" = 1 ] || stop "$file has format $(manifest format), and this version of the site reads format 1: check out the version that wrote it"
