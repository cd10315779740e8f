ENV DJANGO_SETTINGS_MODULE=config.settings \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GRANIAN_INTERFACE=asginl \
    GRANIAN_HOST=0.0.0.0 \
    GRANIAN_PORT=8000 \
    GRANIAN_WORKERS=2 \
    GRANIAN_BLOCKING_THREADS=4 \
    GRANIAN_BACKPRESSURE=1024 \
    GRANIAN_HTTP1_BUFFER_SIZE=65536 \
    GRANIAN_WEBSOCKETS=false \
    GRANIAN_WORKERS_KILL_TIMEOUT=30 \
    GRANIAN_RESPAWN_FAILED_WORKERS=true
# Owned by root and readable by all{{ ', whatever your umask' if not multi_stage }}: the site cannot change its own code.
{% if multi_stage %}
COPY --from=source /source .
{% else %}
RUN --mount=type=bind,target=/source cp -r --no-preserve=mode /source/. . && rm -rf scripts wheels
{% endif %}
LABEL org.opencontainers.image.title="{{ project_name }}"
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --start-interval=0.5s \
    CMD ["python", "-c", "from http.client import *; c = HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/livez'); exit(c.getresponse().status != 200)"]
# Docker before 25 refuses the lines above as an unknown flag: install 26.1 or newer.
CMD ["python", "-m", "ops.serve"]
