#!/usr/bin/env python3
"""Makes a fresh mongod a one-node replica set and waits until it takes writes.

usage: replset.py HOST:PORT NAME [--pid PID]

Speaks just enough of the wire protocol (OP_MSG) and BSON to need nothing but Python. Does nothing
to a node that is in a replica set already. Gives up after 60 s, or as soon as process PID is gone.
"""

import os
import socket
import struct
import sys
import time
from datetime import datetime

DEADLINE_SECONDS = 60
OP_MSG = 2013
ALREADY_INITIALIZED = 23


def encode(document):
    """A dict of int, bool, str, datetime, dict and list as BSON."""
    body = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, bool):
            body += b"\x08" + name + (b"\1" if value else b"\0")
        elif isinstance(value, int):
            body += b"\x10" + name + struct.pack("<i", value)
        elif isinstance(value, str):
            text = value.encode() + b"\0"
            body += b"\x02" + name + struct.pack("<i", len(text)) + text
        elif isinstance(value, datetime):
            body += b"\x09" + name + struct.pack("<q", int(value.timestamp() * 1000))
        elif isinstance(value, dict):
            body += b"\x03" + name + encode(value)
        elif isinstance(value, list):
            body += b"\x04" + name + encode({str(i): item for i, item in enumerate(value)})
        else:
            raise TypeError(f"{key}: {type(value).__name__} has no encoding here")
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def decode(data):
    """The top-level scalars of a BSON document; everything else is skipped."""
    fixed = {0x01: ("<d", 8), 0x08: ("<?", 1), 0x09: ("<q", 8), 0x10: ("<i", 4), 0x11: ("<Q", 8), 0x12: ("<q", 8)}
    found, at = {}, 4
    while data[at] != 0:
        kind = data[at]
        end = data.index(b"\0", at + 1)
        name, at = data[at + 1 : end].decode(), end + 1
        if kind in fixed:
            form, size = fixed[kind]
            found[name] = struct.unpack_from(form, data, at)[0]
        elif kind == 0x02:
            size = 4 + struct.unpack_from("<i", data, at)[0]
            found[name] = data[at + 4 : at + size - 1].decode()
        elif kind in (0x03, 0x04):
            size = struct.unpack_from("<i", data, at)[0]
        elif kind == 0x05:
            size = 5 + struct.unpack_from("<i", data, at)[0]
        elif kind == 0x07:
            size = 12
        elif kind == 0x0A:
            size = 0
        else:
            raise ValueError(f"{name}: BSON type {kind:#x} is not known here")
        at += size
    return found


def receive(connection, size):
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("connection closed")
        data += chunk
    return data


def command(address, document):
    """Runs one command on the admin database and returns the scalars of its answer."""
    body = struct.pack("<iB", 0, 0) + encode({**document, "$db": "admin"})
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, OP_MSG) + body)
        (length,) = struct.unpack("<i", receive(connection, 4))
        return decode(receive(connection, length - 4)[12 + 5 :])


def step(address, name):
    """One look at the node, and the initiation if it needs it; true once it takes writes."""
    hello = command(address, {"hello": 1})
    if hello.get("isWritablePrimary") and hello.get("setName") == name:
        return True
    if "setName" not in hello:
        host, port = address
        config = {"_id": name, "members": [{"_id": 0, "host": f"{host}:{port}"}]}
        answer = command(address, {"replSetInitiate": config})
        if answer.get("ok") != 1 and answer.get("code") != ALREADY_INITIALIZED:
            sys.exit(f"error: replSetInitiate failed: {answer.get('errmsg')}")
    return False


def gone(pid):
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except OSError:
        return False


def main(arguments):
    if len(arguments) not in (2, 4) or (len(arguments) == 4 and arguments[2] != "--pid"):
        sys.exit(__doc__)
    host, _, port = arguments[0].rpartition(":")
    pid = int(arguments[3]) if len(arguments) == 4 else None
    give_up_at = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < give_up_at:
        if gone(pid):
            sys.exit("error: mongod has ended")
        try:
            if step((host, int(port)), arguments[1]):
                return
        except OSError:
            pass  # not listening yet
        time.sleep(0.1)
    sys.exit(f"error: no writable primary at {arguments[0]} after {DEADLINE_SECONDS} s")


if __name__ == "__main__":
    main(sys.argv[1:])
