# Shared by the scripts; sourced, never run.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
WAYBILL_HOME="${WAYBILL_HOME:-.waybill}"
case "$WAYBILL_HOME" in
/*) ;;
*) WAYBILL_HOME="$ROOT/$WAYBILL_HOME" ;;
esac
export ROOT WAYBILL_HOME

# Progress goes to stderr: what a script prints on stdout is its result.
say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The leading comment of the calling script, without its marks.
usage() {
    sed -n '2,/^[^#]/{/^#/!q; s/^# \{0,1\}//; p}' "$0"
}

# The servers, where they are to be found: an explicit path, PATH, what scripts/setup installed.
find_mongod() {
    if [ -n "${MONGOD:-}" ]; then
        [ -x "$MONGOD" ] || fail "MONGOD is set to $MONGOD, which is not an executable file"
        printf '%s\n' "$MONGOD"
    elif command -v mongod; then
        :
    elif [ -x "$WAYBILL_HOME/bin/mongod" ]; then
        printf '%s\n' "$WAYBILL_HOME/bin/mongod"
    else
        return 1
    fi
}

find_redis_server() {
    if [ -n "${REDIS_SERVER:-}" ]; then
        [ -x "$REDIS_SERVER" ] || fail "REDIS_SERVER is set to $REDIS_SERVER, which is not an executable file"
        printf '%s\n' "$REDIS_SERVER"
    else
        command -v redis-server
    fi
}

# Makes the servers' paths known to what is started next.
export_servers() {
    MONGOD="$(find_mongod)" || fail "there is no mongod: run scripts/setup"
    REDIS_SERVER="$(find_redis_server)" || fail "there is no redis-server: run scripts/setup"
    export MONGOD REDIS_SERVER
}
