"""How long events take from their commit to a webhook endpoint while orders are created at a steady rate, with one endpoint in all and
with one for every merchant; and how a worker drains a long outbox, in how much memory.

Needs MONGODB_URI and REDIS_URL; scripts/bench sets them. The lag of a delivery is the time of its arrival less the time of its event, which
its body says: both clocks are this machine's.
"""
import argparse
import asyncio
import json
import os
import pathlib
import socket
import struct
import subprocess
import time
from datetime import datetime, timezone
from urllib.parse import urlsplit

from latency import PASSWORD, free_port, order, percentile, seconds, wait_until_up
from replset import OP_MSG, decode, encode, receive

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Connections that create orders.
CLIENTS = 32
# Deliveries that are not there so long after the last order are missing.
PATIENCE_SECONDS = 120


async def exchange(reader, writer, method, path, body, token):
    """One request over a connection that is kept."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n" \
           f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    head, content = await read_message(reader)
    return int(head.split(b" ", 2)[1]), json.loads(content or b"null")


async def read_message(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


class Receiver:
    """Takes everything that is posted to it."""

    def __init__(self):
        self.lags, self.seen = [], set()

    async def serve(self, reader, writer):
        try:
            while True:
                head, content = await read_message(reader)
                now = time.time()
                webhook_id = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"webhook-id:"))
                if webhook_id not in self.seen:
                    self.seen.add(webhook_id)
                    self.lags.append(now - seconds(json.loads(content)["timestamp"]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


class Service:
    """The program over a database of its own."""

    def __init__(self, programs, name):
        self.programs, self.name, self.children = programs, name, []
        self.simulators = subprocess.Popen(
            [programs / "waybill-simulators", "--addr", "127.0.0.1:0", "--exit-with-stdin"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env={**os.environ, "RUST_LOG": "warn"})
        carrier = json.loads(self.simulators.stdout.readline())["listening"]
        self.port = free_port()
        self.env = {
            **os.environ, "MONGODB_URI": os.environ["MONGODB_URI"].replace("/?", f"/{name}?"), "REDIS_PREFIX": name,
            "HTTP_ADDR": f"127.0.0.1:{self.port}", "JWT_SECRET": "j" * 40, "SEALING_KEY": "0" * 64,
            "AUDIT_SIGNING_KEY": "5" * 64, "RATE_LIMIT": "off", "WEBHOOK_ALLOW_PRIVATE": "true",
            "PARCELX_BASE_URL": f"{carrier}/parcelx/api/v3", "PARCELX_ACCESS_KEY": "a", "PARCELX_SECRET_KEY": "b",
            "RUST_LOG": "warn"}
        subprocess.run([programs / "waybill", "migrate"], env=self.env, check=True, stdout=subprocess.DEVNULL)

    def merchant(self, number):
        made = subprocess.run(
            [self.programs / "waybill", "user", "create", "--email", f"m{number}@example.com", "--password", PASSWORD,
             "--role", "merchant", "--kyc-verified", "--credit", "INR:900000000000"],
            env=self.env, check=True, capture_output=True, text=True).stdout
        return json.loads(made.strip().splitlines()[-1])["accessToken"]

    def start(self, program):
        self.children.append(subprocess.Popen([self.programs / "waybill", program], env=self.env))
        return self.children[-1]

    def stop(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            child.wait(60)
        self.simulators.stdin.close()
        self.simulators.wait(10)

    def database(self, document):
        """Runs a command on its database and gives the scalars of the answer."""
        address = urlsplit(os.environ["MONGODB_URI"])
        body = struct.pack("<iB", 0, 0) + encode({**document, "$db": self.name})
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, OP_MSG) + body)
            (length,) = struct.unpack("<i", receive(connection, 4))
            answer = decode(receive(connection, length - 4)[12 + 5:])
        if answer.get("ok") != 1:
            raise SystemExit(f"the database refused: {answer}")
        return answer


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


async def drive(service, tokens, rate, length):
    """Creates orders at a steady rate; gives how long each took."""
    numbers, took, refused = iter(range(rate * length)), [], []
    began = time.time()

    async def client():
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        for number in numbers:
            await asyncio.sleep(max(0.0, began + number / rate - time.time()))
            sent = time.time()
            token = tokens[number % len(tokens)]
            status, _ = await exchange(reader, writer, "POST", "/orders/create", order(f"e-{number}"), token)
            took.append(time.time() - sent)
            if status != 201:
                refused.append(status)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    if refused:
        raise SystemExit(f"{len(refused)} orders were refused, with {set(refused)}")
    return took, time.time() - began


def shown(values):
    return f"p50 {percentile(values, 0.5) * 1000:.0f} ms, p99 {percentile(values, 0.99) * 1000:.0f} ms, max {max(values) * 1000:.0f} ms"


async def lag(args, everybody):
    """One round; with an endpoint for every merchant, or for the first one only."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    service = Service(args.programs, "lag_all" if everybody else "lag_one")
    try:
        tokens = [service.merchant(number) for number in range(args.merchants)]
        api, worker = service.start("api"), service.start("worker")
        await asyncio.to_thread(wait_until_up, f"http://127.0.0.1:{service.port}")
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        for token in tokens if everybody else tokens[:1]:
            status, _ = await exchange(reader, writer, "POST", "/webhook-endpoints",
                                       {"url": hook, "types": ["order.created", "order.confirmed"]}, token)
            assert status == 201, status
        writer.close()
        before = {child: cpu_seconds(child.pid) for child in (api, worker)}
        took, length = await drive(service, tokens, args.rate, args.seconds)
        total = args.rate * args.seconds
        expected = 2 * sum(1 for number in range(total) if everybody or number % args.merchants == 0)
        give_up_at = time.time() + PATIENCE_SECONDS
        while len(receiver.seen) < expected and time.time() < give_up_at:
            await asyncio.sleep(0.2)
        cpu = {child: cpu_seconds(child.pid) - before[child] for child in (api, worker)}
        print(f"{'an endpoint for each of ' + str(args.merchants) + ' merchants' if everybody else 'one endpoint in all'}: "
              f"{total / length:.0f} orders/s; created in {shown(took)}\n"
              f"  {len(receiver.seen)} of {expected} events posted; from commit to endpoint: {shown(receiver.lags)}\n"
              f"  processor time per order: api {cpu[api] / total * 1000:.2f} ms, worker {cpu[worker] / total * 1000:.2f} ms",
              flush=True)
        return len(receiver.seen) == expected
    finally:
        service.stop()
        server.close()


def backlog(args):
    """A worker that finds so many entries in the outbox."""
    service = Service(args.programs, "backlog")
    try:
        worker = service.start("worker")
        time.sleep(5)
        idle = peak_mib(worker.pid)
        worker.terminate()
        worker.wait(60)
        for begin in range(0, args.backlog, 1_000):
            at = datetime.now(timezone.utc)
            heads = [{"id": f"evt_{number:012x}{'0' * 20}", "type": "OrderConfirmed", "seq": number % 4 + 1,
                      "subjectId": f"ord_{number // 4:012x}{'0' * 20}", "userId": f"usr_{number % 50:032x}"}
                     for number in range(begin, min(begin + 1_000, args.backlog))]
            service.database({"insert": "events", "documents": [
                {"_id": head["id"], **{name: head[name] for name in ("type", "subjectId", "userId", "seq")}, "at": at,
                 "actor": {"kind": "system", "id": "bench"}, "data": {"provider": "parcelx"}} for head in heads]})
            service.database({"insert": "outbox", "documents": [
                {"_id": head["id"].replace("evt", "out"), "at": at, "events": [head]} for head in heads]})
        began = time.time()
        worker = service.start("worker")
        while service.database({"count": "outbox"})["n"]:
            time.sleep(0.2)
        length = time.time() - began
        print(f"{args.backlog} entries of the outbox: drained in {length:.1f} s; at most {peak_mib(worker.pid):.0f} MiB resident, "
              f"{idle:.0f} MiB idle")
    finally:
        service.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=200, help="orders a second")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--merchants", type=int, default=20)
    parser.add_argument("--backlog", type=int, default=100_000, help="entries of the outbox; 0 leaves that out")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release", help="where the programs are")
    args = parser.parse_args()
    whole = True
    if args.seconds:
        for everybody in (False, True):
            whole &= asyncio.run(lag(args, everybody))
    if args.backlog:
        backlog(args)
    if not whole:
        raise SystemExit("events are missing")


if __name__ == "__main__":
    main()
