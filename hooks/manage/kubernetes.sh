#!/bin/sh
# Look after the deployed site: `manage.sh logs`, `status` or `stop`, or a command of manage.py with its arguments.
# OVERLAY=staging selects staging.
set -eu
cd "$(dirname "$0")/.."
{% include 'hooks/production/cluster.sh' %}
context=$(kubectl config current-context 2> /dev/null) || stop "kubectl has no current context: choose one with kubectl config use-context"
[ -n "$(cluster get deployment web --ignore-not-found --output name)" ] || stop "Nothing is deployed in $namespace yet: run make deploy first"
case "$1" in
    logs) cluster logs --selector app.kubernetes.io/name={{ project_slug }} --prefix --follow --max-log-requests 50 --tail 100 ;;
    status) cluster get deployments,pods,jobs ;;
    # The autoscaler leaves a Deployment without pods alone.
    stop) cluster scale --replicas 0 deployment web{{ ' worker beat' if use_celery }} ;;
    *) cluster exec --stdin $([ ! -t 0 ] || echo --tty) deployment/web -- python manage.py "$@" ;;
esac
