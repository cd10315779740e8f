# The image of {{ project_slug }}, for development and for production; README.md says how to run it.
ARG PYTHON_IMAGE=python:{{ python_version }}-slim-trixie
# Production can have another base: one without a shell, if it has the same Python in the same place.
ARG RUNTIME_IMAGE=base
# Debian's packages, separated by spaces: what builds Python packages, and what the site needs at run time.
ARG BUILD_PACKAGES="{{ 'gcc libc6-dev libmariadb-dev pkg-config' if uses_mysqlclient }}"
ARG RUNTIME_PACKAGES="{{ 'libmariadb3' if uses_mysqlclient }}"


FROM ${PYTHON_IMAGE} AS base
# Some hardened images have another user.
# hadolint ignore=DL3002
USER 0
{% include 'hooks/docker/bytecode.Dockerfile' %}
ARG RUNTIME_PACKAGES
RUN --mount=type=bind,source=scripts/packages.sh,target=/packages.sh sh /packages.sh system ${RUNTIME_PACKAGES}


FROM base AS build
ARG BUILD_PACKAGES
RUN --mount=type=bind,source=scripts/packages.sh,target=/packages.sh sh /packages.sh system ${BUILD_PACKAGES}
{% if uses_mysqlclient %}
# What mysqlclient loads, for a base that cannot install it; and what scanners read about it.
ARG RUNTIME_IMAGE
RUN mkdir /runtime && if [ "$RUNTIME_IMAGE" != base ]; then \
        mkdir -p /runtime/var/lib/dpkg/status.d \
        && dpkg-query --status libmariadb3 > /runtime/var/lib/dpkg/status.d/libmariadb3 \
        && cp --parents /usr/lib/*/libmariadb.so.3 /usr/lib/*/libmariadb3/plugin/*.so /runtime; \
    fi
{% endif %}
COPY scripts/packages.sh requirements-build.txt ./
# Secrets, because the password of a private index must not stay in the image.
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url --mount=type=secret,id=ca-cert \
    sh packages.sh uv /usr/local/bin

# Outside /app: a bind mount would hide it.
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
# The folder wheels, if there is one.
COPY requirements.txt wheel[s] ./
# Translation sources and source maps are not used at run time. Maps are only emptied, because scripts refer to them.
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url --mount=type=secret,id=ca-cert \
    uv venv --quiet $VIRTUAL_ENV \
    && sh packages.sh install requirements.txt \
    && find $VIRTUAL_ENV -name '*.po' -delete -o -name '*.map' -exec truncate --size 0 {} +
COPY pyproject.toml ./
RUN sh packages.sh fits requirements.txt


# The code, readable by all whatever your umask; and without what collectstatic does not need, so that editing that does not
# run it again. If a model or an app's ready() imports one of these modules, remove its name here.
FROM base AS source
COPY . /source
RUN rm -rf /source/scripts /source/wheels && chmod -R u=rwX,go=rX /source \
    && cp -r /source /static && rm -r /static/templates \
    && find /static \( -name admin.py{{ ' -o -name api.py' if use_drf }} -o -name urls.py -o -name views.py \) -delete


# A separate stage, which runs while the runtime image copies the environment.
FROM build AS static
COPY --from=source /static .
RUN BUILDING=1 python manage.py collectstatic --no-input --verbosity 0


# What development adds to the environment, in a folder of its own: the rest is production's, and is not copied again.
FROM build AS added
ARG REQUIREMENTS=requirements.txt
COPY ${REQUIREMENTS} ./
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index-url --mount=type=secret,id=ca-cert \
    sh packages.sh add ${REQUIREMENTS} /added


# No RUN from here on: nothing in this image has to be able to run it.
FROM ${RUNTIME_IMAGE} AS runtime
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH
COPY --from=base /data /data
{% if uses_mysqlclient %}
COPY --from=build /runtime /
{% endif %}
COPY --from=build /opt/venv /opt/venv
COPY --from=added /added /
COPY --from=static /srv/static /srv/static
{% include 'hooks/docker/runtime.Dockerfile' %}
