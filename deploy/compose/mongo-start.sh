#!/usr/bin/env bash
# Starts mongod in its container, with authentication. A replica set whose members ask for passwords needs a key file, also one
# of a single member; it is made when the container first starts. The arguments are mongod and its flags.
set -euo pipefail

key="${KEY_FILE:-/data/configdb/waybill.key}"
if [ ! -s "$key" ]; then
    (umask 377 && head -c 96 /dev/urandom | base64 -w 0 >"$key")
fi
# The image starts as root and runs mongod as its own user, who alone may read the key.
if [ "$(id -u)" = 0 ] && id mongodb >/dev/null 2>&1; then chown mongodb "$key"; fi
exec docker-entrypoint.sh "$@" --keyFile "$key"
