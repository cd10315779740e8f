#!/bin/sh
# Look after the deployed site: `manage.sh logs`, `status` or `stop`, or a command of manage.py with its arguments.
task=prod-$1
. "$(dirname "$0")/swarm.sh"
[ -n "$(services)" ] || stop "Nothing is deployed here yet: run make deploy first"
case "$1" in
    logs)
        following=''
        trap 'kill $following' EXIT
        trap 'exit 130' HUP INT TERM
        for each in $(services); do
            docker service logs --follow --tail 100 "$each" &
            following="$following $!"
        done
        wait ;;
    status)
        docker stack services "$STACK"
        docker stack ps --filter desired-state=running "$STACK" ;;
    stop)
        alone 0
        settle
        docker service scale --detach=false $(services | sed 's/$/=0/') > /dev/null ;;
    *)
        web=$(container web)
        docker exec --interactive $([ ! -t 0 ] || echo --tty) "$web" python manage.py "$@" ;;
esac
