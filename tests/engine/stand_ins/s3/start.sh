#!/bin/sh
# Start Swift's four servers and their cache. The proxy is the one that clients talk to.
set -eu
memcached -l 127.0.0.1 &
for each in account container object; do
    "swift-$each-server" "/etc/swift/$each-server.conf" &
done
exec swift-proxy-server /etc/swift/proxy-server.conf
