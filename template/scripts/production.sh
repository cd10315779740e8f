# What deploy.sh, backup.sh and restore.sh begin with; $task is what make calls them.
set -eu
cd "$(dirname "$0")/.."

stop() {
    echo "$1" >&2
    exit 1
}

compose() {
    docker compose --progress quiet --env-file production.env --file compose.production.yaml "$@"
}

# alone SECONDS: nobody else touches data/ until this process ends. Whoever does is given that long to finish.
alone() {
    exec 9<> data/.lock
    flock --timeout "$1" 9 || stop "make $(cat data/.lock) is running: wait for it"
    echo "$task" > data/.lock
    if [ "$task" != restore ] && [ -e data/.restored/was ]; then
        stop "A restore was killed while it changed the data: run make restore again, with the same file"
    fi
}

# use_current SECONDS: the same, and compose is about the version that runs
use_current() {
    [ -s secrets/secret_key ] && [ -s data/releases ] || stop "Nothing is deployed here yet: run make deploy first"
    alone "$1"
    APP_USER=$(stat -c %u:%g secrets/secret_key)
    TAG=$(tail -n 1 data/releases | cut -d ' ' -f 2)
    export APP_USER TAG
}
