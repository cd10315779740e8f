#!/bin/sh
# Install and lock packages, in a container. INDEX_URL replaces the default package index; of several, separated by
# spaces, the first one that has a package is used. CA_CERT is an additional CA certificate to trust, in PEM format. A
# build gets both as secrets.
set -eu
INDEX_URL=${INDEX_URL:-$(cat /run/secrets/index-url 2> /dev/null || true)}
CA_CERT=${CA_CERT:-$(cat /run/secrets/ca-cert 2> /dev/null || true)}
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
if [ -n "$INDEX_URL" ]; then
    export PIP_INDEX_URL="${INDEX_URL##* }" UV_DEFAULT_INDEX="${INDEX_URL##* }"
    case $INDEX_URL in *" "*) export UV_INDEX="${INDEX_URL% *}" ;; esac
fi
if [ -n "$CA_CERT" ]; then
    { cat /etc/ssl/certs/ca-certificates.crt; echo "$CA_CERT"; } > "$folder/ca.crt"
    export PIP_CERT="$folder/ca.crt" SSL_CERT_FILE="$folder/ca.crt" GIT_SSL_CAINFO="$folder/ca.crt"
fi
[ -z "${HTTP_PROXY:-}" ] || export http_proxy="$HTTP_PROXY"  # the one name that apt and git know
# The image is built without the folder around the wheels.
for each in wheels/*.whl ./*.whl; do [ ! -e "$each" ] || export UV_FIND_LINKS="${each%/*}"; done

# try WHAT COMMAND...: run a command quietly. If it fails, print its output, the likely reason, and what to do.
try() {
    what=$1
    shift
    if "$@" > "$folder/said" 2>&1; then return; fi
    cat "$folder/said" >&2
    status=1
    case $(cat "$folder/said") in
        *"No space left"*) why="the disk is full: free some space, for example with docker system prune" ;;
        *"peer certificate"* | *"certificate verify"*) why="the index's certificate is not trusted: set CA_CERT" ;;
        *"exclude-newer"*) why="exclude-newer excludes every matching version: see pyproject.toml" ;;
        *"(401 "* | *"(403 "* | *" 401 "* | *" 403 "*)
            why="a package index refuses the login: check the user and the password in INDEX_URL" ;;
        *"No solution found"*) why=$otherwise ;;
        *"E: Failed to fetch"*) why="Debian's servers do not answer: check the network" ;;
        *"E: Unable to locate"* | *"no installation candidate"*)
            why="this release of Debian has no such package: look up its name at packages.debian.org" ;;
        *"error sending request"* | *"Failed to fetch"* | *"Max retries"*)
            why="the package index does not answer: check the network and INDEX_URL" ;;
        *"Hash mismatch"* | *"DO NOT MATCH THE HASHES"*)
            why="the index's files differ from the locked ones: find out why before you lock again" ;;
        *"must have a hash"*) why="hashes are missing: run \`make lock\`" ;;
        *"Git executable not found"*)
            status=3 why="a package comes from git: add git to BUILD_PACKAGES in the Dockerfile" ;;
        *"Failed to build"* | *"and build "*)
            package=$(sed -n 's/.*ailed to .*build `\([^` ]*\).*/\1/p' "$folder/said" | head -n 1)
            status=3 why="${package:-a package} must be compiled, but a compiler or a library is missing: add the Debian packages \
that have what is named above to BUILD_PACKAGES in the Dockerfile${unneeded:-}" ;;
        *) why=$otherwise ;;
    esac
    echo "$what failed: $why" >&2
    exit $status
}

otherwise="the lock is outdated: run \`make lock\`"
task=$1
shift
case $task in
system) # Debian's packages, if any
    if [ $# = 0 ]; then exit; fi
    otherwise="see the message above"
    try "Listing Debian's packages" apt-get update --quiet=2 --error-on=any
    try "Installing $*" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --no-install-recommends --yes "$@"
    rm -rf /var/lib/apt/lists/*
    ;;
uv) # a folder to put it into
    # pip takes more than a second: builds keep the program in their cache. Another platform's does not start.
    kept=/root/.cache/uv/program-$(sha256sum < requirements-build.txt | cut -c 1-16)
    mkdir -p "$1"
    if "$kept" --version > "$folder/said" 2>&1 && cp "$kept" "$1/uv"; then exit; fi
    try "Installing uv" pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile \
        --root-user-action ignore --require-hashes --requirement requirements-build.txt --target "$folder/uv"
    cp "$folder/uv/bin/uv" "$1"
    # Renamed, because other builds may be reading it. Outside of a build, there is no cache.
    if copy=$(mktemp "$kept.XXXXXX" 2> /dev/null); then
        find "${kept%/*}" -maxdepth 1 -name 'program-*' -mtime +30 -delete
        install -m 755 "$1/uv" "$copy" && mv "$copy" "$kept"
    fi
    ;;
install) # a lock, and uv's options
    lock=$1
    shift
    unneeded=", or run \`make lock\` if pyproject.toml no longer needs it"
    # Locked versions are installed regardless of their age.
    export UV_EXCLUDE_NEWER=false
    set -- uv pip install --quiet --system-certs --link-mode copy --compile-bytecode --no-deps "$@" --requirement
    # What comes from git has no hash but a commit, which is one.
    from_git='^[^ ]* @ git+[^ ]*@[0-9a-f]\{40\}'
    grep -v "$from_git" "$lock" > "$folder/index.txt"
    try "Installing $lock" "$@" "$folder/index.txt" --require-hashes
    ! grep "$from_git" "$lock" > "$folder/git.txt" || try "Installing $lock" "$@" "$folder/git.txt"
    ;;
add) # a lock, and a folder for the files that it adds to those of requirements.txt
    mkdir "$2"
    if [ "$1" = requirements.txt ]; then exit; fi
    files() { find "$VIRTUAL_ENV" ! -type d | LC_ALL=C sort > "$folder/$1"; }
    files before
    sh "$0" install "$1"
    sh "$0" fits "$1"
    files after
    if [ -n "$(LC_ALL=C comm -23 "$folder/before" "$folder/after")" ]; then
        echo "$1 has other versions than requirements.txt: run \`make lock\`" >&2
        exit 1
    fi
    LC_ALL=C comm -13 "$folder/before" "$folder/after" | xargs -r -d '\n' cp --link --parents --target-directory "$2"
    ;;
fits) # a lock: offline, this succeeds only if it has installed everything that pyproject.toml requires
    # Without the addresses of repositories, which uv would ask for their commits.
    sed 's/ @ git+[^"]*//' pyproject.toml > "$folder/pyproject.toml"
    group=
    [ "$1" != requirements-dev.txt ] || group="--group=$folder/pyproject.toml:dev"
    uv pip install --quiet --no-cache --offline --no-index --no-sources --requirement "$folder/pyproject.toml" $group 2> /dev/null ||
        { echo "$1 does not fit pyproject.toml: run \`make lock\`" >&2; exit 1; }
    rm -f "$VIRTUAL_ENV/.lock"  # uv leaves it, and anyone could write it
    ;;
lock) # uv's options, such as --upgrade
    resolve() { sh scripts/dev.sh sh "$0" resolve "$@" 2> "$folder/said"; }
    if resolve "$@"; then exit; else status=$?; fi
    # What a package needs may be known only once it is built, with what the image is built with.
    packages=$(sed -n 's/^ARG BUILD_PACKAGES="\(.*\)"/\1/p' Dockerfile)
    if [ $status = 3 ] && [ -n "$packages" ]; then
        sh "$0" system $packages
        if resolve "$@"; then exit; fi
    fi
    cat "$folder/said" >&2
    exit 1
    ;;
resolve)
    sh "$0" uv "$folder"
    otherwise="no set of versions satisfies pyproject.toml"
    lock() {
        name=$1
        shift
        try "Locking $name" "$folder/uv" pip compile --quiet --system-certs --output-file "$folder/$name" "$@"
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
