# fetch IMAGE...: pull them anew, because their patches come under the same name
fetch() {
    [ "${pull:-1}" != 0 ] || return 0
    failed=$(
        for each; do
            (
                limit=''
                ! docker image inspect "$each" > /dev/null 2>&1 || limit='timeout 120'
                said=$($limit docker pull --quiet "$each" 2>&1) || { said=${said:-no answer} && echo "$each (${said##*: })"; }
            ) 9>&- &
        done
        wait
    )
    [ -z "$failed" ] || echo "These images cannot be pulled, so those that are here are used: $(echo $failed)" >&2
}

here() {
    docker image inspect "$image" > /dev/null 2>&1
}

again $(echo "$was" | cut -s -d ' ' -f 2-)
image=$(setting IMAGE)
image=${image:-{{ project_slug }}}:$TAG
build='' more=''
case "$image" in
    *@*) ;;  # it cannot change
    */*) ! here || more=$image ;;
    *)
        if [ "$task" = rollback ]; then
            here || stop "There is no image $image: data/releases lists the tags"
        elif ! here || { [ -z "$named" ] && [ "${pull:-1}" != 0 ]; }; then
            build=1 more=$(sed -n 's/^ARG [A-Z]*_IMAGE=\(.*:.*\)/\1/p' Dockerfile)
        fi ;;
esac
fetch $(sed -n 's/^    image: \([^"$]*\)$/\1/p' compose.production.yaml | sort -u) $more
if [ "$build" ]; then
    here || made=1
    docker build --secret id=index-url,env=INDEX_URL --secret id=ca-cert,env=CA_CERT --provenance false \
        --build-arg HTTP_PROXY --build-arg HTTPS_PROXY --build-arg NO_PROXY --label "org.opencontainers.image.version=$TAG" --tag "$image" . ||
        { here && echo "$image cannot be built anew, so the one that is here is used: see the message above" >&2; } ||
        stop "The image of $TAG cannot be built$stays: see the message above"
fi
here || docker pull --quiet "$image" || stop "$image cannot be pulled$stays: check that it is published and that this host is logged in to the registry"
{% include 'hooks/deploy/signed.sh' %}

signed "${image%":$TAG"}" "$image"
was=$(echo "$was" | cut -s -d ' ' -f 2)
[ -z "$was" ] || [ "${was#*=}" = "$(docker image inspect --format '{% raw %}{{.Id}}{% endraw %}' "$image")" ] ||
    echo "The image that ran as $TAG is no longer here, so another one with its name is used" >&2

# prune: remove images that only releases before the last five used
prune() {
    tac data/releases | awk -v repository="${image%":$TAG"}" '
        NF == 2 { $3 = repository ":" $2 "=" }  # of an earlier version of this script
        !seen[$2, $3]++ { count++ }
        {
            for (i = 3; i <= NF; i++) {
                name = id = $i
                sub(/=.*/, "", name)
                sub(/.*=/, "", id)
                if (count <= 5) { keep[name]; keep[id] }
                else { if (!(name in keep)) print name; if (!(id in keep)) print id }
            }
        }' | xargs --no-run-if-empty docker image rm > /dev/null 2>&1 || true
}
