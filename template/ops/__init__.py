"""The site's infrastructure: environment, logs, health probes, telemetry, locks, serving.

This package belongs to the template: updates change it, and you rarely need to.
"""
