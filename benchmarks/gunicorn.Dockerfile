# The site's image with Gunicorn beside Granian.
ARG SITE
FROM ${SITE}
USER 0
RUN /usr/local/bin/python -m pip install --quiet --no-cache-dir --root-user-action ignore --target /opt/gunicorn "gunicorn>=27,<28"
ENV PYTHONPATH=/opt/gunicorn
USER 10001:10001
