# Swarm has rolled back the services that do not become healthy.
for service in $(services); do
    case "$(docker service inspect --format '{% raw %}{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}{% endraw %}' "$service")" in rollback* | paused) ;; *) continue ;; esac
    deployed=no
    tasks=$(docker service ps --no-trunc --format '{% raw %}{{.Image}} {{.ID}} {{.Error}}{% endraw %}' "$service")
    tasks=$(echo "$tasks" | grep --fixed-strings "$IMAGE " || echo "$tasks" | grep ' .* .' || true)
    worst=$(echo "$tasks" | grep --max-count 1 '"' || echo "$tasks" | head -n 1)
    docker service logs --raw --tail 10 "$(echo "$worst" | cut -d ' ' -f 2)" >&2 || true
    reason=$(echo "$worst" | cut -d ' ' -f 3-)
    echo "${service#"${STACK}_"}: ${reason:-its health check does not pass}" >&2
done
[ "$deployed" != no ] || stop "$TAG does not become healthy$stays"
[ -n "$deployed" ] || stop "$TAG cannot be deployed$stays: $(troubles)"

# visit: print the status of the home page as visitors get it, over TLS and through Caddy
visit() {
    address=127.0.0.1
    docker ps --filter "label=com.docker.swarm.service.name=${STACK}_caddy" --format x | grep -q x ||
        address=$(docker node inspect --format '{% raw %}{{.Status.Addr}}{% endraw %}' "$(docker service ps --filter desired-state=running --format '{% raw %}{{.Node}}{% endraw %}' "${STACK}_caddy" | head -n 1)")
    docker run --rm --network host --read-only --cap-drop ALL "$IMAGE" python -c '
import socket, ssl, sys
name, address, port = sys.argv[1:]
context = ssl._create_unverified_context()
with context.wrap_socket(socket.create_connection((address, port), 10), server_hostname=name) as caddy:
    caddy.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    print(caddy.recv(100).split()[1].decode())' "$SITE_HOST" "$address" "${HTTPS_PORT:-443}" 2> /dev/null
}

end=$(($(date +%s) + 60))
until case "$(visit)" in 2?? | 3?? | 401 | 403 | 404) ;; *) false ;; esac; do
    [ "$(date +%s)" -lt "$end" ] || stop "$SITE_ADDRESS does not answer through Caddy$stays: see docker service logs ${STACK}_caddy"
    sleep 1
done
