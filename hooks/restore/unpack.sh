rm -rf "$new"
mkdir -m 700 "$new"
tar --extract --no-same-owner --file "$file" --directory "$new" 2> /dev/null || stop "$damaged"
(cd "$new" && sha256sum manifest database media.tar | cmp -s - SHA256SUMS) || stop "$damaged"
# Only files and folders below media/: no link, and no path out of it.
tar --list --file "$new/media.tar" > "$new/names" 2> /dev/null || stop "$damaged"
! grep -qv '^media/' "$new/names" || stop "$damaged"
! grep -qE '(^|/)\.\.(/|$)' "$new/names" || stop "$damaged"
! tar --list --verbose --file "$new/media.tar" 2> /dev/null | grep -qv '^[-d]' || stop "$damaged"

if [ -t 0 ] && [ "${YES:-}" != 1 ]; then
    printf 'This replaces all data of the site with %s. Type yes to continue: ' "$file"
    read -r answer || true
    [ "$answer" = yes ] || stop "Nothing was changed"
fi
