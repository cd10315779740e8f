# The image of {{ project_slug }}, for development and for production; README.md says how to run it.
ARG PYTHON_IMAGE=python:{{ python_version }}-slim-trixie
# Debian's packages, separated by spaces: what builds Python packages, and what the site needs at run time.
ARG BUILD_PACKAGES="{{ 'gcc libc6-dev libmariadb-dev pkg-config' if uses_mysqlclient }}"
ARG RUNTIME_PACKAGES="{{ 'libmariadb3' if uses_mysqlclient }}"


FROM ${PYTHON_IMAGE} AS base
{% include 'hooks/docker/bytecode.Dockerfile' %}
ARG RUNTIME_PACKAGES
RUN --mount=type=bind,source=scripts,target=/scripts sh /scripts/packages.sh system ${RUNTIME_PACKAGES}


FROM base AS build
ARG BUILD_PACKAGES
RUN --mount=type=bind,source=scripts,target=/scripts sh /scripts/packages.sh system ${BUILD_PACKAGES}
COPY scripts/packages.sh requirements-build.txt ./
# Secrets, because the password of a private index must not stay in the image.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=index-url,env=INDEX_URL --mount=type=secret,id=ca-cert,env=CA_CERT \
    sh packages.sh uv

# Outside /app: a bind mount would hide it.
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
# The folder wheels, if there is one.
COPY requirements.txt wheel[s] ./
# Translation sources and source maps are not used at run time. Maps are only emptied, because scripts refer to them.
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url,env=INDEX_URL --mount=type=secret,id=ca-cert,env=CA_CERT \
    uv venv --quiet $VIRTUAL_ENV \
    && sh packages.sh install requirements.txt \
    && find $VIRTUAL_ENV -name '*.po' -delete -o -name '*.map' -exec truncate --size 0 {} +
COPY pyproject.toml ./
RUN sh packages.sh fits requirements.txt


# A separate stage, which runs while the runtime image copies the environment.
FROM build AS static
# Leave out modules that collectstatic does not import, so that editing them does not run it again.
# If a model or an app's ready() imports one of them, remove its --exclude.
COPY --exclude=**/admin.py {{ '--exclude=**/api.py ' if use_drf }}--exclude=**/urls.py --exclude=**/views.py --exclude=scripts --exclude=templates . .
RUN BUILDING=1 python manage.py collectstatic --no-input --verbosity 0


# Development sets requirements-dev.txt, which is installed on top of production's packages.
FROM build AS environment
ARG REQUIREMENTS=requirements.txt
COPY ${REQUIREMENTS} ./
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url,env=INDEX_URL --mount=type=secret,id=ca-cert,env=CA_CERT \
    sh packages.sh install ${REQUIREMENTS} \
    && rm $VIRTUAL_ENV/.lock


FROM base AS runtime
ENV PATH=/opt/venv/bin:$PATH
COPY --from=environment /opt/venv /opt/venv
COPY --from=static /srv/static /srv/static
{% include 'hooks/docker/runtime.Dockerfile' %}
