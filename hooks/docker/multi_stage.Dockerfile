# The image of {{ project_slug }}, for development and for production; README.md says how to run it.
ARG PYTHON_IMAGE=python:{{ python_version }}-slim-trixie
# Production can have another base: one without a shell, if it has the same Python in the same place.
ARG RUNTIME_IMAGE=base


FROM ${PYTHON_IMAGE} AS base
# Some hardened images have another user.
# hadolint ignore=DL3002
USER 0
{% include 'hooks/docker/bytecode.Dockerfile' %}


FROM base AS build
{% if uses_mysqlclient %}
# mysqlclient has no wheel: it is compiled here. Nothing is pinned, because Debian removes old versions.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc libc6-dev libmariadb-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
# What it needs at run time, and what scanners read about it.
RUN mkdir -p /runtime/var/lib/dpkg/status.d \
    && dpkg-query --status libmariadb3 > /runtime/var/lib/dpkg/status.d/libmariadb3 \
    && cp --parents /usr/lib/*/libmariadb.so.3 /usr/lib/*/libmariadb3/plugin/*.so /runtime
{% endif %}
COPY scripts/packages.sh requirements-build.txt ./
# Secrets, because the password of a private index must not stay in the image.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=index-url --mount=type=secret,id=ca-cert \
    sh packages.sh uv

# Outside /app: a bind mount would hide it.
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
COPY requirements.txt ./
# Translation sources and source maps are not used at run time. Maps are only emptied, because scripts refer to them.
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url --mount=type=secret,id=ca-cert \
    uv venv --quiet $VIRTUAL_ENV \
    && sh packages.sh install requirements.txt \
    && find $VIRTUAL_ENV -name '*.po' -delete -o -name '*.map' -exec truncate --size 0 {} +
COPY pyproject.toml ./
# Offline, this succeeds only if the lock has installed everything that pyproject.toml requires.
RUN uv pip install --quiet --no-cache --offline --no-index --requirement pyproject.toml 2> /dev/null \
    || { echo "requirements.txt does not fit pyproject.toml: run \`make lock\`" >&2; exit 1; }


# The code, readable by all whatever your umask; and without what collectstatic does not need, so that editing that does not
# run it again. If a model or an app's ready() imports one of these modules, remove its name here.
FROM base AS source
COPY . /source
RUN rm -r /source/scripts && chmod -R u=rwX,go=rX /source \
    && cp -r /source /static && rm -r /static/templates \
    && find /static \( -name admin.py{{ ' -o -name api.py' if use_drf }} -o -name urls.py -o -name views.py \) -delete


# A separate stage, which runs while the runtime image copies the environment.
FROM build AS static
COPY --from=source /static .
RUN BUILDING=1 python manage.py collectstatic --no-input --verbosity 0


# Development sets requirements-dev.txt, which is installed on top of production's packages.
FROM build AS environment
ARG REQUIREMENTS=requirements.txt
COPY ${REQUIREMENTS} ./
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url --mount=type=secret,id=ca-cert \
    sh packages.sh install ${REQUIREMENTS} \
    && rm $VIRTUAL_ENV/.lock


# No RUN from here on: nothing in this image has to be able to run it.
FROM ${RUNTIME_IMAGE} AS runtime
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH
COPY --from=base /data /data
{% if uses_mysqlclient %}
COPY --from=build /runtime /
{% endif %}
COPY --from=environment /opt/venv /opt/venv
COPY --from=static /srv/static /srv/static
{% include 'hooks/docker/runtime.Dockerfile' %}
