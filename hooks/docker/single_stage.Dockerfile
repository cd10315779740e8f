# The image of {{ project_slug }}, for development and for production; README.md says how to run it.
ARG PYTHON_IMAGE=python:{{ python_version }}-slim-trixie
# Debian's packages, separated by spaces: what builds Python packages, and what the site needs at run time.
ARG BUILD_PACKAGES="{{ 'gcc libc6-dev libmariadb-dev pkg-config' if uses_mysqlclient }}"
ARG RUNTIME_PACKAGES="{{ 'libmariadb3' if uses_mysqlclient }}"
FROM ${PYTHON_IMAGE}
# Some hardened images have another user.
# hadolint ignore=DL3002
USER 0
{% include 'hooks/docker/bytecode.Dockerfile' %}
ARG RUNTIME_PACKAGES
RUN --mount=type=bind,source=scripts/packages.sh,target=/packages.sh sh /packages.sh system ${RUNTIME_PACKAGES}

# Outside /app: a bind mount would hide it.
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH

# One step, because files that a later step removes stay in the image: it installs, uses and removes the build tools.
# Secrets, because the password of a private index must not stay in the image.
ARG BUILD_PACKAGES
ARG REQUIREMENTS=requirements.txt
# With the folder wheels, if there is one.
COPY pyproject.toml requirements-build.txt ${REQUIREMENTS} wheel[s] ./
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url --mount=type=secret,id=ca-cert \
    --mount=type=bind,source=scripts/packages.sh,target=/packages.sh \
    <<EOF
set -eu
PYTHONDONTWRITEBYTECODE=1 sh /packages.sh uv /tmp/uv
PATH=/tmp/uv:$PATH
uv venv --quiet $VIRTUAL_ENV
# What has been compiled before comes from the cache. Without isolation, nothing can be compiled here.
if ! sh /packages.sh install ${REQUIREMENTS} --no-build-isolation 2> /dev/null; then
  sh /packages.sh system ${BUILD_PACKAGES}
  uv venv --quiet --clear $VIRTUAL_ENV
  sh /packages.sh install ${REQUIREMENTS}
  added=${BUILD_PACKAGES}
fi
sh /packages.sh fits ${REQUIREMENTS}
[ -z "${added:-}" ] || apt-get purge --quiet=2 --auto-remove --yes ${BUILD_PACKAGES}
rm --force --recursive /tmp/uv*
# Translation sources and source maps are not used at run time. Maps are only emptied, because scripts refer to them.
find $VIRTUAL_ENV -name '*.po' -delete -o -name '*.map' -exec truncate --size 0 {} +
EOF

# All of one age: the same files are then the same layer, however often the code changes.
RUN --mount=type=bind,target=/app \
    BUILDING=1 PYTHONDONTWRITEBYTECODE=1 python manage.py collectstatic --no-input --verbosity 0 \
    && find /srv -exec touch --date @0 {} +
{% include 'hooks/docker/runtime.Dockerfile' %}
