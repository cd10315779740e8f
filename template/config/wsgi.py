"""The WSGI application, which Granian serves through ops/front.py."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from granian.utils.proxies import wrap_wsgi_with_proxy_headers

from ops.metrics import count_requests
from ops.telemetry import init_sentry, init_tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
init_sentry()
init_tracing()
count_requests()

# X-Forwarded-For and X-Forwarded-Proto are read from trusted proxies only.
application = wrap_wsgi_with_proxy_headers(get_wsgi_application(), trusted_hosts=settings.TRUSTED_PROXIES)
