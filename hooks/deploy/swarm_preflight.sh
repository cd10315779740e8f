nodes=$(docker node ls --format '{% raw %}{{.Status}} {{.Availability}} {{.ManagerStatus}}{% endraw %}')
active="docker node ls shows the nodes, and docker node update --availability active NAME activates one"
echo "$nodes" | grep -q '^Ready Active' || stop "No node of the Swarm is active: $active"
[ -n "${CADDY_NODE:-}" ] || echo "$nodes" | grep -q '^Ready Active [A-Z]' || stop "No manager of the Swarm is active, and Caddy runs on one unless CADDY_NODE says otherwise: $active"

# Two sites on one Swarm would have the same subnet.
subnet=${FRONTEND_SUBNET:-10.213.57.0/24}
taken=$(docker network ls --quiet | xargs --no-run-if-empty docker network inspect --format '{% raw %}{{.Name}}{{range .IPAM.Config}} {{.Subnet}}{{end}}{% endraw %}' | grep " $subnet" | cut -d ' ' -f 1 | grep -vx "${STACK}_frontend" | head -n 1)
[ -z "$taken" ] || stop "The subnet $subnet belongs to the network $taken: set FRONTEND_SUBNET in production.env to one that is free"

# Caddy starts when the old one has stopped, for it needs the same ports: what would keep it from that is said before.
ours=$(docker service inspect --format '{% raw %}{{range .Spec.EndpointSpec.Ports}}{{.PublishedPort}} {{end}}{% endraw %}' "${STACK}_caddy" 2> /dev/null || true)
for port in "${HTTP_PORT:-80}" "${HTTPS_PORT:-443}"; do
    # With several nodes, Caddy may be on another one. In /proc, a socket that listens has its port in hexadecimal and the state 0A.
    case "$nodes $ours " in *"
"* | *" $port "*) ;; *)
        ! grep -qis ":$(printf %04x "$port") [0-9a-f]*:0000 0a " /proc/net/tcp /proc/net/tcp6 ||
            stop "Another program uses port $port: stop it, or set HTTP_PORT and HTTPS_PORT in production.env" ;;
    esac
done
