#!/bin/sh
# Install and lock packages, in a container. INDEX_URL replaces the default package index; CA_CERT is an additional CA
# certificate to trust, in PEM format. A build gets both as secrets.
set -eu
INDEX_URL=${INDEX_URL:-$(cat /run/secrets/index-url 2> /dev/null || true)}
CA_CERT=${CA_CERT:-$(cat /run/secrets/ca-cert 2> /dev/null || true)}
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
if [ -n "$INDEX_URL" ]; then
    export PIP_INDEX_URL="$INDEX_URL" UV_DEFAULT_INDEX="$INDEX_URL"
fi
if [ -n "$CA_CERT" ]; then
    { cat /etc/ssl/certs/ca-certificates.crt; echo "$CA_CERT"; } > "$folder/ca.crt"
    export PIP_CERT="$folder/ca.crt" SSL_CERT_FILE="$folder/ca.crt"
fi

# try WHAT COMMAND...: run a command quietly. If it fails, print its output, the likely reason, and what to do.
try() {
    what=$1
    shift
    if "$@" > "$folder/said" 2>&1; then return; fi
    cat "$folder/said" >&2
    case $(cat "$folder/said") in
        *"peer certificate"* | *"certificate verify"*) why="the index's certificate is not trusted: set CA_CERT" ;;
        *"exclude-newer"*) why="exclude-newer excludes every matching version: see pyproject.toml" ;;
        *"No solution found"*) why=$otherwise ;;
        *"error sending request"* | *"Failed to fetch"* | *"Max retries"*)
            why="the package index does not answer: check the network and INDEX_URL" ;;
        *"Hash mismatch"* | *"DO NOT MATCH THE HASHES"*)
            why="the index's files differ from the locked ones: find out why before you lock again" ;;
        *"must have a hash"*) why="hashes are missing: run \`make lock\`" ;;
        *"Failed to build"*)
            why="a package must be compiled, but a compiler or a library is missing: install it in the Dockerfile" ;;
        *) why=$otherwise ;;
    esac
    echo "$what failed: $why" >&2
    exit 1
}

otherwise="the lock is outdated: run \`make lock\`"
task=$1
shift
case $task in
uv) # pip's options
    try "Installing uv" pip install --quiet --disable-pip-version-check --no-compile --root-user-action ignore \
        --require-hashes --requirement requirements-build.txt "$@"
    ;;
install) # a lock
    # Locked versions are installed regardless of their age.
    export UV_EXCLUDE_NEWER=false
    try "Installing $1" uv pip install --quiet --system-certs --link-mode copy --compile-bytecode --no-deps \
        --require-hashes --requirement "$1"
    ;;
lock) # uv's options, such as --upgrade
    sh "$0" uv --target "$folder/uv"
    otherwise="no set of versions satisfies pyproject.toml"
    lock() {
        name=$1
        shift
        try "Locking $name" env PYTHONPATH="$folder/uv" python -m uv pip compile --quiet --system-certs \
            --output-file "$folder/$name" "$@"
    }
    cp requirements*.txt "$folder"
    lock requirements.txt pyproject.toml "$@"
    lock requirements-dev.txt pyproject.toml --group dev --constraint "$folder/requirements.txt" "$@"
    lock requirements-build.txt --group build "$@"
    versions() {
        sed -n 's/^\([a-z0-9-]*\)\(==\| @ \)\([^ ]*\).*/\1 \3/p' "$1"/requirements*.txt | LC_ALL=C sort -u > "$folder/$2"
    }
    versions . before
    versions "$folder" after
    LC_ALL=C join -a 1 -a 2 -e none -o 0,1.2,2.2 "$folder/before" "$folder/after" |
        awk '$2 != $3 { print $1, $2, "->", $3 }'
    cp "$folder"/requirements*.txt .
    ;;
esac
