#!/bin/sh
# Look after the deployed site: `manage.sh logs`, `status` or `stop`, or a command of manage.py with its arguments.
task=prod-$1
. "$(dirname "$0")/production.sh"
current
case "$1" in
    logs) compose logs --follow ;;
    status) compose ps --all ;;
    stop)
        alone 0
        compose stop ;;
    *)
        web=$(cat data/front/web 2> /dev/null || containers web)
        [ "$(docker inspect --format '{% raw %}{{.State.Running}}{% endraw %}' "$web" 2> /dev/null)" = true ] || stop "The site does not run: make prod-status shows what does, and make deploy starts it"
        docker exec --interactive $([ ! -t 0 ] || echo --tty) "$web" python manage.py "$@" ;;
esac
