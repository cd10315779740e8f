#!/bin/sh
# Start the registry, with the contract of the official image: a configuration file, or a command of its own.
set -eu
case ${1:-} in
    *.yaml | *.yml) set -- registry serve "$@" ;;
    serve | garbage-collect | help | -*) set -- registry "$@" ;;
esac
exec "$@"
