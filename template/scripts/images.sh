#!/bin/sh
# Pin the images in the Dockerfile, the Compose files and the scripts to what their tags name today, as
# NAME:TAG@sha256:DIGEST, and renew those that are pinned already.
set -eu
cd "$(dirname "$0")/.."
files=$(ls -d Dockerfile compose*.yaml deploy/*.yaml scripts/*.sh 2> /dev/null || true)
name='[a-z0-9][a-z0-9./:_-]*:[A-Za-z0-9._-]+'
line='^(ARG [A-Z]+_IMAGE=| +image: "?)'
changes='' said=''
for image in $(sed -nE "s#$line($name).*#\2#p; s#.*[ =\"]($name)@sha256:.*#\1#p" $files | sort -u); do
    digest=$(docker buildx imagetools inspect --format '{{println .Manifest.Digest}}' "$image") ||
        { echo "$image cannot be looked up, and nothing was changed: check its name, the network, and docker login" >&2; exit 1; }
    before=$(sed -nE "s#.*[ =\"]$image@(sha256:[0-9a-f]+).*#\1#p" $files | head -n 1)
    [ "$before" = "$digest" ] || said="$said$image ${before:-none} -> $digest
"
    changes="$changes
s#$line$image([^A-Za-z0-9._@/-].*)?\$#\1$image@$digest\2#
s#([ =\"]$image)@sha256:[0-9a-f]+#\1@$digest#"
done
# Beside them, so that a full disk leaves every file whole.
trap 'rm -f .pinned' EXIT
for file in $files; do
    cp -p "$file" .pinned
    sed -E "$changes" "$file" > .pinned
    cmp -s .pinned "$file" || mv .pinned "$file"
done
printf %s "$said"
