for folder in data "$(docker info --format '{% raw %}{{.DockerRootDir}}{% endraw %}')"; do
    free=$(df --output=avail --block-size=1M "$folder" 2> /dev/null | tail -n 1 | tr -d ' ')
    [ "${free:-1000}" -ge 1000 ] || stop "Only $free MB are free on the disk of $folder: free 1000 MB"
done
http=$(setting HTTP_PORT) https=$(setting HTTPS_PORT)
for port in "${http:-80}" "${https:-443}"; do
    docker port "$(containers caddy)" 2> /dev/null | grep -q ":$port$" ||
        # In /proc, a socket that listens has its port in hexadecimal and the state 0A.
        ! grep -qis ":$(printf %04x "$port") [0-9a-f]*:0000 0a " /proc/net/tcp /proc/net/tcp6 ||
        stop "Another program uses port $port: stop it, or set HTTP_PORT and HTTPS_PORT in production.env"
done
network=$project-production_frontend subnet=$(setting FRONTEND_SUBNET)
subnet=${subnet:-10.213.57.0/28}
if ! docker network inspect "$network" > /dev/null 2>&1; then
    # With IPv6 where the host has it, so that visitors keep their addresses; Docker before 27 has no subnet for that.
    # Compose takes a network with its labels as it is.
    create() {
        docker network create "$@" --subnet "$subnet" --label com.docker.compose.network=frontend \
            --label com.docker.compose.project="$project-production" "$network" > /dev/null
    }
    { grep -qsv ' lo$' /proc/net/if_inet6 && create --ipv6 2> /dev/null; } || create ||
        stop "The network cannot have the subnet $subnet: set FRONTEND_SUBNET in production.env to one that is free"
fi
docker network inspect --format '{% raw %}{{range .IPAM.Config}}{{println .Subnet}}{{end}}{% endraw %}' "$network" | grep -qxF "$subnet" ||
    stop "The network has another subnet than $subnet: run (cd / && docker compose --project-name $project-production down), then make deploy again"
