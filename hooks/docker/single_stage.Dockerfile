# The image of {{ project_slug }}, for development and for production; README.md says how to run it.
ARG PYTHON_IMAGE=python:{{ python_version }}-slim-trixie
FROM ${PYTHON_IMAGE}
{% include 'hooks/docker/bytecode.Dockerfile' %}

# Outside /app: a bind mount would hide it.
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
{% if uses_mysqlclient %}
# Nothing is pinned, because Debian removes old versions.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --no-install-recommends --yes libmariadb3 && rm -rf /var/lib/apt/lists/*
{% endif %}

# One step, because files that a later step removes stay in the image: it installs, uses and removes the build tools.
# Secrets, because the password of a private index must not stay in the image.
ARG REQUIREMENTS=requirements.txt
COPY pyproject.toml requirements-build.txt ${REQUIREMENTS} ./
{% if uses_mysqlclient %}
# hadolint ignore=DL3008
{% endif %}
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url --mount=type=secret,id=ca-cert \
    --mount=type=bind,source=scripts,target=/scripts \
    <<EOF
set -eu
PYTHONDONTWRITEBYTECODE=1 sh /scripts/packages.sh uv --target /tmp/uv
PATH=/tmp/uv/bin:$PATH
uv venv --quiet $VIRTUAL_ENV
{% if uses_mysqlclient %}
# mysqlclient has no wheel: it is compiled once, and then comes from the cache.
if ! sh /scripts/packages.sh install ${REQUIREMENTS} 2> /dev/null; then
  apt-get update
  apt-get install --no-install-recommends --yes gcc libc6-dev libmariadb-dev pkg-config
  sh /scripts/packages.sh install ${REQUIREMENTS}
  apt-get purge --auto-remove --yes gcc libc6-dev libmariadb-dev pkg-config
  rm -rf /var/lib/apt/lists/*
fi
{% else %}
sh /scripts/packages.sh install ${REQUIREMENTS}
{% endif %}
# Offline, this succeeds only if the lock has installed everything that pyproject.toml requires.
uv pip install --quiet --no-cache --offline --no-index --requirement pyproject.toml 2> /dev/null ||
  { echo "${REQUIREMENTS} does not fit pyproject.toml: run \`make lock\`" >&2; exit 1; }
rm --force --recursive $VIRTUAL_ENV/.lock /tmp/uv*
# Translation sources and source maps are not used at run time. Maps are only emptied, because scripts refer to them.
find $VIRTUAL_ENV -name '*.po' -delete -o -name '*.map' -exec truncate --size 0 {} +
EOF

# All of one age: the same files are then the same layer, however often the code changes.
RUN --mount=type=bind,target=/app \
    BUILDING=1 PYTHONDONTWRITEBYTECODE=1 python manage.py collectstatic --no-input --verbosity 0 \
    && find /srv -exec touch --date @0 {} +
{% include 'hooks/docker/runtime.Dockerfile' %}
