#!/bin/sh
# Say in sentences what is wrong with this machine or checkout, and exit with 1 if anything is.
set -u
cd "$(dirname "$0")/.." || exit 1
found=0
say() {
    echo "- $1"
    found=1
}

if ! problem=$(sh scripts/docker.sh 2>&1); then
    say "$problem."
elif ! config=$(docker compose config 2>&1); then
    say "Compose cannot read its file or .env: $(echo "$config" | tail -n 1)"
else
    running=$(docker compose ps --format '{{.Service}} {{.Ports}}')
    for port in $(echo "$config" | sed -n 's/^ *published: "\([1-9][0-9]*\)"/\1/p'); do
        # In /proc, a socket that listens has its port in hexadecimal and the state 0A.
        if ! echo "$running" | grep -q ":$port->" &&
            grep -qis ":$(printf %04x "$port") [0-9a-f]*:0000 0a " /proc/net/tcp /proc/net/tcp6; then
            say "Another program uses port $port: stop it, or set another port in .env."
        fi
    done
    for failed in $(docker compose ps --all --format '{{.Service}}:{{.State}}:{{.ExitCode}}' | grep -v ':0$'); do
        say "${failed%%:*} has stopped: \`docker compose logs ${failed%%:*}\` says why, and \`make up\` starts it again."
    done
    if echo "$running" | grep -q '^web '; then
        missing=$(docker compose exec -T web python -c "import ops.testing" 2>&1 | sed -n 's/.*UsageError: //p')
        [ -z "$missing" ] || say "$missing"
        problem=$(docker compose exec -T web python manage.py shell --verbosity 0 --no-imports \
            --command "from ops.health import readiness_error; print(readiness_error() or '')" 2>&1 | tail -n 1)
        [ -z "$problem" ] || say "The site is not ready: $problem. \`make migrate\` applies migrations; \`make logs\` says more."
    fi
    root=$(docker info --format '{{.DockerRootDir}}')
    for folder in . "$root"; do
        free=$(df -Pk "$folder" 2> /dev/null | awk 'NR == 2 { print int($4 / 1024) }')
        [ "${free:-2000}" -ge 2000 ] || say "Only $free MB are free on the disk of $folder: free 2000 MB; \`docker system prune\` may help."
    done
fi
if ! answer=$(git rev-parse --git-dir 2>&1); then
    say "Deploys and updates need a git repository: run \`git init\`, and commit. git says: $answer"
else
    for file in $(git grep --files-with-matches --extended-regexp '^(<<<<<<<|>>>>>>>)( |$)'); do
        say "$file has conflicts: keep what is right of both versions."
    done
fi
[ ! -f .env ] || for name in $(sed -n 's/^\([A-Za-z_0-9]*\) *=.*/\1/p' .env | grep -vE '^(COMPOSE|DOCKER|PYTHON)'); do
    grep -q "^\(# \)\{0,1\}${name%_FILE}=" .env.example || say ".env sets $name, which .env.example does not list: correct the name, or list it there."
done
[ "$found" = 1 ] || echo "Nothing is wrong with this machine or checkout."
exit "$found"
