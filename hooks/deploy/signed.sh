# signed REPOSITORY IMAGE: stop if COSIGN_VERIFY has options for cosign, and it does not find a signature that they accept
signed() {
    options=$(setting COSIGN_VERIFY)
    [ -n "$options" ] || return 0
    command -v cosign > /dev/null || stop "cosign is missing: install it as described at https://docs.sigstore.dev/cosign/system_config/installation/"
    published=$(docker image inspect --format '{% raw %}{{range .RepoDigests}}{{println .}}{{end}}{% endraw %}' "$2" | grep -F "$1@" | head -n 1)
    [ -n "$published" ] || stop "$2 does not come from a registry, so it has no signature$stays: set IMAGE in production.env"
    cosign verify $options "$published" > /dev/null || stop "$2 is not signed as COSIGN_VERIFY in production.env asks$stays: see the message above"
}
