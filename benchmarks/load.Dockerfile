# What sends requests: wrk, in a container of its own, on the base of the site's image.
ARG BASE
FROM ${BASE}
USER 0
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends wrk > /dev/null \
    && rm -rf /var/lib/apt/lists/*
CMD ["sleep", "infinity"]
