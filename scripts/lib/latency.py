"""Creates orders at a steady rate and says how long each took from creation to confirmation.

Needs MONGODB_URI and REDIS_URL; scripts/bench sets them. Times are the server's: createdAt and updatedAt of the
confirmed order, both on the database's clock.
"""
import argparse
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(method, url, body=None, token=None):
    request = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("content-type", "application/json")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=15) as response:
        return json.loads(response.read() or b"null")


def order(client_order_id):
    address = {"name": "Asha Rao", "phone": "9876543210", "line1": "12 MG Road", "city": "Bengaluru",
               "state": "Karnataka", "pincode": "560001"}
    return {"clientOrderId": client_order_id, "shipment": {
        "paymentMode": "prepaid", "weightGrams": 450, "dimensionsCm": {"length": 20, "width": 15, "height": 8},
        "consignee": address, "pickup": address,
        "items": [{"sku": "TS-BLK-M", "name": "T-shirt", "quantity": 2, "unitPrice": 49900}]}}


def wait_until_up(base):
    for _ in range(200):
        try:
            return call("GET", base + "/readyz")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise SystemExit("the api did not come up")


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=50, help="orders a second")
    parser.add_argument("--seconds", type=int, default=20)
    args = parser.parse_args()

    release = ROOT / "target/release"
    simulators = subprocess.Popen([release / "waybill-simulators", "--addr", "127.0.0.1:0", "--exit-with-stdin"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, "RUST_LOG": "warn"})
    carrier = json.loads(simulators.stdout.readline())["listening"]
    port = free_port()
    env = {**os.environ, "MONGODB_URI": os.environ["MONGODB_URI"].replace("/?", "/latency?"), "REDIS_PREFIX": "latency",
           "HTTP_ADDR": f"127.0.0.1:{port}", "JWT_SECRET": "j" * 40, "SEALING_KEY": "0" * 64,
           "AUDIT_SIGNING_KEY": "5" * 64, "RATE_LIMIT": "off",
           "PARCELX_BASE_URL": f"{carrier}/parcelx/api/v3", "PARCELX_ACCESS_KEY": "a", "PARCELX_SECRET_KEY": "b",
           "RUST_LOG": "warn"}
    waybill = release / "waybill"
    subprocess.run([waybill, "migrate"], env=env, check=True, stdout=subprocess.DEVNULL)
    created = subprocess.run([waybill, "user", "create", "--email", "bench@example.com", "--password", PASSWORD, "--role",
                              "merchant", "--kyc-verified", "--credit", "INR:900000000000"], env=env, check=True, capture_output=True, text=True).stdout
    token = json.loads(created.strip().splitlines()[-1])["accessToken"]
    children = [subprocess.Popen([waybill, program], env=env) for program in ("api", "worker")]
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(base)
        print(f"creating {args.rate} orders/s for {args.seconds} s ...", flush=True)
        threads, began, total = [], time.time(), args.rate * args.seconds
        for number in range(total):
            time.sleep(max(0.0, began + number / args.rate - time.time()))
            thread = threading.Thread(target=call, args=("POST", base + "/orders/create", order(f"l-{number}"), token))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        time.sleep(2)
        taken, cursor = [], ""
        while True:
            page = call("GET", f"{base}/orders?limit=100{cursor}", token=token)
            taken += [seconds(o["updatedAt"]) - seconds(o["createdAt"]) for o in page["items"] if o["status"] == "confirmed"]
            if not page["nextCursor"]:
                break
            cursor = f"&cursor={page['nextCursor']}"
        if not taken:
            raise SystemExit("no order was confirmed")
        print(f"{len(taken)} of {total} orders confirmed; created to confirmed: "
              f"p50 {percentile(taken, 0.5) * 1000:.0f} ms, p99 {percentile(taken, 0.99) * 1000:.0f} ms, "
              f"max {max(taken) * 1000:.0f} ms")
        if len(taken) < total:
            raise SystemExit(f"{total - len(taken)} orders are not confirmed")
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(30)
        simulators.stdin.close()
        simulators.wait(10)


if __name__ == "__main__":
    main()
