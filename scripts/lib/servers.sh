# Starts and stops a private mongod (one-node replica set) and redis-server; sourced, never run.
# Needs common.sh and export_servers. Both live in a directory of their own and on free ports, so
# that several runs go side by side.
# shellcheck shell=bash

SERVERS_DIR=''
SERVER_PIDS=()

# Sets MONGODB_URI and REDIS_URL.
start_servers() {
    SERVERS_DIR="$(mktemp -d "$(roomy_dir)/waybill-test.XXXXXX")"
    # Between the choice of a free port and its use, somebody else may take it.
    local try
    for try in 1 2 3; do
        if start_mongod; then break; fi
        [ "$try" != 3 ] || fail "mongod does not start; its last words: $(tail -n 2 "$SERVERS_DIR/mongod.log" 2>/dev/null)"
    done
    for try in 1 2 3; do
        if start_redis; then break; fi
        [ "$try" != 3 ] || fail "redis-server does not start; its last words: $(tail -n 2 "$SERVERS_DIR/redis.log" 2>/dev/null)"
    done
    export MONGODB_URI REDIS_URL
}

# Stops what was started here, by its process ids, and removes its data. With an argument, keeps the
# logs in that directory.
stop_servers() {
    local pid
    # No farewell: the data is thrown away, and a clean shutdown of a primary takes seconds.
    for pid in "${SERVER_PIDS[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    SERVER_PIDS=()
    [ -n "$SERVERS_DIR" ] || return 0
    if [ -n "${1:-}" ]; then
        mkdir -p "$1"
        cp "$SERVERS_DIR"/*.log "$1/" 2>/dev/null || true
        say "the servers' logs are in $1"
    fi
    rm -rf "$SERVERS_DIR"
    SERVERS_DIR=''
}

start_mongod() {
    local port pid
    port="$(free_port)"
    say "starting mongod on port $port"
    # Afresh at every try: a replica set remembers the port it was made with.
    rm -rf "$SERVERS_DIR/mongo"
    mkdir "$SERVERS_DIR/mongo"
    # enableTestCommands: tests make single commands fail (failCommand). The lifetime: as in docs/operate.md. What is
    # dropped keeps its files open as long as a snapshot may see it, 300 s unless told: hundreds of tests drop databases.
    start_server mongod "$MONGOD" --replSet rs0 --bind_ip 127.0.0.1 --port "$port" \
        --dbpath "$SERVERS_DIR/mongo" --nounixsocket --wiredTigerCacheSizeGB 1 --oplogSize 512 \
        --setParameter enableTestCommands=1 --setParameter diagnosticDataCollectionEnabled=false \
        --setParameter transactionLifetimeLimitSeconds=15 --setParameter minSnapshotHistoryWindowInSeconds=20 \
        --wiredTigerEngineConfigString 'file_manager=(close_idle_time=30,close_handle_minimum=500,close_scan_interval=5)'
    pid="${SERVER_PIDS[-1]}"
    if ! python3 "$ROOT/scripts/lib/replset.py" "127.0.0.1:$port" rs0 --pid "$pid"; then
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        return 1
    fi
    MONGODB_URI="mongodb://127.0.0.1:$port/?replicaSet=rs0"
}

start_redis() {
    local port pid waited
    port="$(free_port)"
    say "starting redis-server on port $port"
    start_server redis "$REDIS_SERVER" --bind 127.0.0.1 --port "$port" --save '' --appendonly no \
        --dir "$SERVERS_DIR"
    pid="${SERVER_PIDS[-1]}"
    for ((waited = 0; waited < 100; waited++)); do
        kill -0 "$pid" 2>/dev/null || return 1
        if answers_ping "$port"; then
            REDIS_URL="redis://127.0.0.1:$port"
            return 0
        fi
        sleep 0.1
    done
    return 1
}

# start_simulators PROGRAM: the providers' stand-ins, one process for all tests; each test has a namespace of its own.
# Sets SIMULATORS_URL, and SIMULATORS_SMTP, where the mail server listens.
start_simulators() {
    local waited
    say "starting the providers' stand-ins"
    start_server simulators "$1" --addr 127.0.0.1:0
    for ((waited = 0; waited < 100; waited++)); do
        SIMULATORS_URL="$(sed -n 's/.*"listening":"\([^"]*\)".*/\1/p' "$SERVERS_DIR/simulators.log" 2>/dev/null)" || true
        if [ -n "$SIMULATORS_URL" ]; then
            SIMULATORS_SMTP="$(sed -n 's/.*"smtp":"\([^"]*\)".*/\1/p' "$SERVERS_DIR/simulators.log")"
            export SIMULATORS_URL SIMULATORS_SMTP
            return 0
        fi
        kill -0 "${SERVER_PIDS[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    fail "the stand-ins don't start; their last words: $(tail -n 2 "$SERVERS_DIR/simulators.log")"
}

answers_ping() {
    local reply=''
    # In a subshell: a refused connection must not end the script.
    reply="$( (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'PING\r\n' >&3 && head -c 5 <&3) 2>/dev/null)" || true
    [ "$reply" = '+PONG' ]
}

# start_server NAME COMMAND...: in the background, out of reach of Ctrl-C (the trap stops it), and
# ended by the kernel should this script be killed.
start_server() {
    local name="$1" wrap=()
    shift
    if command -v setsid >/dev/null; then wrap+=(setsid); fi
    if setpriv --pdeathsig KILL true 2>/dev/null; then wrap+=(setpriv --pdeathsig KILL); fi
    # A database per test means many files.
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    "${wrap[@]}" "$@" >>"$SERVERS_DIR/$name.log" 2>&1 </dev/null &
    SERVER_PIDS+=("$!")
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Memory where there is plenty (containers often have 64 MB), else the disk; SERVERS_ON_DISK: always that.
roomy_dir() {
    local free_kb
    free_kb="$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')"
    if [ -z "${SERVERS_ON_DISK:-}" ] && [ -w /dev/shm ] && [ "${free_kb:-0}" -gt 2000000 ]; then
        printf '/dev/shm\n'
    else
        printf '%s\n' "${TMPDIR:-/tmp}"
    fi
}
