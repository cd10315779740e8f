"""What keeps the site running: environment, logs, health probes, telemetry, locks, serving.

It is the template's own: an update changes it, and you rarely need to.
"""
