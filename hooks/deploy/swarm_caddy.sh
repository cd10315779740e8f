said=$(docker run --rm --interactive --network none --user 10001 --cap-drop ALL --cap-add NET_BIND_SERVICE --read-only --tmpfs /tmp --env XDG_CONFIG_HOME=/tmp --env XDG_DATA_HOME=/tmp \
    --env SITE_NAMES --env SITE_HOST --env SITE_ADDRESS --env HSTS --env HTTPS_PORT="${HTTPS_PORT:-443}" --env MAX_BODY_MB="${MAX_BODY_MB:-10}" --env UPLOADS \
    "$(sed -n '/^  caddy:/,/^  [a-z]/s/^    image: //p' deploy/stack.yaml)" caddy validate --config - --adapter caddyfile < Caddyfile 2>&1) ||
    stop "Caddy refuses the Caddyfile or a setting in production.env$stays: $(echo "$said" | tail -n 1)"
