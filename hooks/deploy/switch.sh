# answer PATH OPTIONS...: print the status that the web container $new returns to Caddy; the options are wget's
answer() {
    page=$1
    shift
    # By its IPv4 address: the site does not listen on IPv6, and wget tries only the first address of a name.
    address=$(docker inspect --format "{% raw %}{{(index .NetworkSettings.Networks \"$network\").IPAddress}}{% endraw %}" "$new")
    docker exec "$caddy" wget -S -O /dev/null -T 10 --header "Host: $SITE_HOST" "$@" "http://$address:8000$page" 2>&1 |
        sed -n 's/.*HTTP\/1.[01] \([0-9]*\).*/\1/p' | head -n 1
}

# visit: print the status of the home page as visitors get it, over TLS and through Caddy
visit() {
    docker exec "$new" python -c '
import socket, ssl, sys
context = ssl._create_unverified_context()
with context.wrap_socket(socket.create_connection(("caddy", 443), 10), server_hostname=sys.argv[1]) as caddy:
    caddy.sendall(f"GET / HTTP/1.1\r\nHost: {sys.argv[1]}\r\nConnection: close\r\n\r\n".encode())
    print(caddy.recv(100).split()[1].decode())' "$SITE_HOST" 2> /dev/null
}

# ask SECONDS COMMAND...: repeat the command until it prints the status of a page; fail if $new exits
ask() {
    end=$(($(date +%s) + $1))
    shift
    while :; do
        status=$("$@" || true)
        case "$status" in 2?? | 3?? | 401 | 403 | 404) return 0 ;; esac
        [ "$(date +%s)" -lt "$end" ] || return 1
        [ "$(docker inspect --format '{% raw %}{{.State.Status}} {{.RestartCount}}{% endraw %}' "$new")" = "running 0" ] || return 1
        sleep 0.5
    done
}

# check: stop unless the web container $new is ready and has a home page
check() {
    ask 120 answer /readyz || refuse "does not become ready"
    # As if it had come over TLS: the site redirects others before it renders a page.
    ask 5 answer / --header "X-Forwarded-For: 127.0.0.1" --header "X-Forwarded-Proto: https" || refuse "answers its home page with status ${status:-0}"
}

# refuse WHAT: stop, with the end of the log of the web container $new
refuse() {
    docker logs --tail 20 "$new" >&2
    stop "$TAG $1$stays: $(docker logs --tail 100 "$new" 2>&1 | cause)"
}

# load: give Caddy its current settings and its Caddyfile, without closing a connection unless the settings have changed
load() {
    compose up --detach --wait --no-deps caddy && docker exec "$caddy" caddy reload --config /etc/caddy/Caddyfile \
        --adapter caddyfile --address unix//tmp/admin.sock > /dev/null 2>&1
}

# point OLD NEW: make Caddy, which reads data/front/web for each request, send the next ones to another web container
point() {
    (umask 022 && echo "$2" > data/front/.web)
{% if has_database_server %}
    mv data/front/.web data/front/web
{% else %}
    # SQLite has one writer. Until the new container has started, Caddy finds no server at the address it is given, its own,
    # and requests wait. A second later none is on its way to the old container. In a session of its own, neither an
    # interruption nor the end of this script leaves the site without either.
    setsid --wait sh -c '
        umask 022
        if [ "$1" ]; then
            echo caddy > data/front/.wait && mv data/front/.wait data/front/web
            sleep 1
            docker stop "$1"
        fi
        docker start "$2"
        mv data/front/.web data/front/web' - "$1" "$2" > /dev/null
{% endif %}
}

take_back() {
    handed=''
    [ -n "$serving" ] || return 0
    mv data/front/.Caddyfile data/front/Caddyfile
    point "$new" "$serving"
    load
}

(
    umask 022
    [ -e data/front/Caddyfile ] || cp Caddyfile data/front/Caddyfile
    [ -e data/front/web ] || echo "${serving:-web}" > data/front/web
    cp data/front/Caddyfile data/front/.Caddyfile
)
compose up --detach --no-deps --no-recreate caddy || stop "Caddy does not start$stays: see the message above"
caddy=$(containers caddy)
both=$(($(containers web | wc -l) + 1))
{% if has_database_server %}
compose up --detach --no-recreate --scale "web=$both" web || stop "$TAG does not start$stays: see the message above"
new=$(containers web | grep -vx "$serving")
check
{% else %}
# Try the new version with a copy of the database, while the running one serves.
new=$project-production-next
compose run --detach --no-deps --name "$new" --env DATABASE_URL=sqlite:////data/next.sqlite3 web python -c '
import os, sqlite3
sqlite3.connect("file:/data/db.sqlite3?mode=rw", uri=True, timeout=60).execute("VACUUM INTO ?", ["/data/next.sqlite3"])
os.execvp("python", ["python", "-m", "ops.serve"])' > /dev/null || stop "$TAG does not start$stays: see the message above"
check
only "$serving"
compose up --no-start --no-deps --no-recreate --scale "web=$both" web
new=$(containers web | grep -vx "$serving")
{% endif %}
{% if use_celery %}
restarted=1
if ! compose up --detach --wait --no-deps worker beat; then
    compose logs --no-color --no-log-prefix --tail 20 worker beat >&2
    stop "The worker or beat of $TAG does not become healthy$stays: $(why worker beat)"
fi
{% endif %}

handed=1
point "$serving" "$new"
{% if not has_database_server %}
check
{% endif %}
(umask 022 && cp Caddyfile data/front/.next && mv data/front/.next data/front/Caddyfile)
load || stop "Caddy does not take its Caddyfile$stays: see docker logs $caddy"
ask 60 visit || stop "$SITE_ADDRESS does not answer through Caddy$stays: see docker logs $caddy"
handed='' restarted='' made='' ran='' serving=$new
record "$TAG"
trap 'stop "Interrupted, but $TAG is up: run make deploy again to complete it"' HUP INT TERM PIPE
# The old version finishes its requests.
only "$serving"
compose up --detach --wait --remove-orphans || stop "$TAG is up, but another service does not become healthy: see its log"
prune
echo "$TAG is up at $SITE_ADDRESS"
