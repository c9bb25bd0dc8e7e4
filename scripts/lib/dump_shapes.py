"""Does a little of everything with a `waybill dev`, and writes what is in its database down.

usage: dump_shapes.py LOG OUT, where LOG is what `waybill dev` printed. See scripts/dump-shapes.

A line of OUT is the time of the dump, an index, or a document, as canonical extended JSON: types of numbers count, since records are
sealed by their bytes.
"""
import json
import re
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone

from bson import json_util
from pymongo import MongoClient

PASSWORD = "correct horse battery"
PATIENCE_SECONDS = 60
# Whoever does more than a little of everything should think again: the file is read by people.
DOCUMENTS_MAX = 400
# Markers of commits, which say nothing after their time and to nobody else: so many are enough.
MARKERS = {"batches": 5}
ADDRESS = {"name": "Asha Rao", "phone": "9876543210", "line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka", "pincode": "560001"}
PICKUP = {"name": "Kiran Stores", "phone": "9812345678", "line1": "Plot 7", "city": "New Delhi", "state": "Delhi", "pincode": "110020"}


class Api:
    def __init__(self, base, simulators):
        self.base, self.simulators = base, simulators

    def send(self, method, url, body=None, token=None, media_type="application/json"):
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, method=method, data=data)
        request.add_header("content-type", media_type)
        if token:
            request.add_header("authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {url}: {error.code} {error.read().decode()}") from error
        try:
            return json.loads(text or b"null")
        except ValueError:
            return None

    def user(self, email):
        signed_in = self.send("POST", f"{self.base}/auth/login", {"email": email, "password": PASSWORD})
        return User(self, signed_in)

    def register(self, name, role="merchant"):
        body = {"email": f"{name.lower()}@example.com", "password": PASSWORD, "name": name, "role": role}
        return User(self, self.send("POST", f"{self.base}/auth/register", body))

    def stand_in(self, path, body=None, method="POST"):
        return self.send(method, f"{self.simulators}{path}", body)


class User:
    def __init__(self, api, tokens):
        self.api, self.id, self.token = api, tokens["userId"], tokens["accessToken"]

    def get(self, path):
        return self.api.send("GET", self.api.base + path, None, self.token)

    def send(self, method, path, body=None):
        return self.api.send(method, self.api.base + path, body, self.token)

    def post(self, path, body=None):
        return self.send("POST", path, body)

    def upload(self, kind):
        part = lambda head, content: f"--paper\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n"
        form = part('name="kind"', kind) + part('name="file"; filename="paper.pdf"', f"%PDF-1.4\n{kind}\n%%EOF\n") + "--paper--\r\n"
        url = f"{self.api.base}/kyc/documents"
        return self.api.send("POST", url, form.encode(), self.token, "multipart/form-data; boundary=paper")

    def wait(self, path, there):
        deadline = time.time() + PATIENCE_SECONDS
        while time.time() < deadline:
            found = self.get(path)
            if there(found):
                return found
            time.sleep(0.1)
        raise SystemExit(f"{path} did not get there: {json.dumps(found)[:2000]}")

    def order(self, body, *statuses):
        made = self.post("/orders/create", body)
        path = f"/orders/{made['orderId']}"
        return self.wait(path, lambda order: order["status"] in statuses) if statuses else made


def parcel(client_order_id):
    return {"clientOrderId": client_order_id, "shipment": {
        "paymentMode": "prepaid", "weightGrams": 450, "dimensionsCm": {"length": 20, "width": 15, "height": 8}, "consignee": ADDRESS,
        "pickup": PICKUP, "items": [{"sku": "TS-BLK-M", "name": "T-shirt", "quantity": 2, "unitPrice": 49900}]}}


def sale(client_order_id):
    return {"clientOrderId": client_order_id, "provider": "xapi", "sale": {
        "currency": "EUR", "orderedAt": "2026-11-29T10:00:00Z", "paymentId": "pay_1",
        "customer": {"gender": "female", "firstName": "Eva", "lastName": "Muster", "email": "eva@example.com", "phone": "+4930123456"},
        "billingAddress": {"line1": "Hauptstraße 4/1", "city": "Berlin", "postcode": "10115", "country": "DE"},
        "lines": [{"sku": "A-1", "name": "Buch", "quantity": 2, "unitPrice": 1999}], "shippingCost": 490}}


def extract(client_order_id):
    return {"clientOrderId": client_order_id, "provider": "rosreestr",
            "extract": {"cadastralNumber": "50:33:0000000:98325", "type": "base"}}


def live(api):
    """A little of everything. What is open at its end is open in the dump."""
    merchant, customer, finance, auditor, admin = (
        api.user(f"{role}@waybill.test") for role in ("merchant", "customer", "finance", "auditor", "admin"))
    rupees = lambda amount: {"amount": amount, "currency": "INR"}

    endpoint = merchant.post("/webhook-endpoints", {"url": "http://127.0.0.1:9/hook", "description": "Nobody listens."})
    admin.post("/provider-accounts", {"provider": "xapi", "label": "Second ERP", "credentials": {"username": "u", "password": "p"},
                                      "limits": {"concurrency": 2}})
    booking = {"clientReference": "R-1", "kind": "recharge", "userId": merchant.id, "amount": rupees(5_000), "reason": "By bank transfer"}
    booked = finance.post("/finance/transactions", booking)
    finance.post(f"/finance/transactions/{booked['transactionId']}/reverse", {"clientReference": "R-2", "reason": "Booked by mistake"})

    confirmed = merchant.order(parcel("c-confirmed"), "confirmed")
    merchant.order(parcel("c-cancelled"), "confirmed")
    merchant.post("/orders/cancel", {"clientOrderId": "c-cancelled", "reason": "changed my mind"})
    merchant.wait("/orders?clientOrderId=c-cancelled", lambda page: page["items"][0]["status"] == "cancelled")
    api.stand_in("/parcelx/_control/rules", {"operation": "create", "mode": "refuse", "times": 1})
    merchant.order(parcel("c-failed"), "failed")
    merchant.order(sale("s-1"), "confirmed")
    admin.post("/auth/password/forgot", {"email": "merchant@waybill.test"})
    finance.post("/finance/transactions", {**booking, "clientReference": "R-3", "amount": {"amount": 100_000, "currency": "RUB"}})
    merchant.order(extract("x-delivered"), "delivered")

    topup = merchant.post("/wallet/topups", {"clientTopupId": "t-1", "amount": rupees(100_000)})
    merchant.wait(f"/wallet/topups/{topup['topupId']}", lambda found: found["paymentUrl"])
    api.stand_in(f"/paygate/_control/payments/{topup['topupId']}", {"do": "pay", "times": 1})
    merchant.wait(f"/wallet/topups/{topup['topupId']}", lambda found: found["status"] == "paid")
    merchant.post("/wallet/topups", {"clientTopupId": "t-open", "amount": rupees(200_000)})

    merchant.send("PUT", "/fulfilment", {"erp": {"provider": "xapi"}, "carrier": {"provider": "parcelx", "service": "surface"}, "pickup": PICKUP})
    product = merchant.post("/products", {"sku": "P-1", "name": "Kettle", "category": "kitchen", "price": rupees(49_900), "lowStockAt": 2,
                                          "parcel": {"weightGrams": 450, "dimensionsCm": {"length": 20, "width": 15, "height": 8}}})
    merchant.post(f"/products/{product['productId']}/stock", {"clientReference": "in-1", "delta": 9, "reason": "From the supplier."})
    customer.send("PUT", "/customers/me", {"name": "Asha Rao", "phone": "+919876543210", "addresses": []})
    me = customer.get("/auth/me")
    checkout = lambda id, method: customer.post("/checkout", {
        "clientOrderId": id, "items": [{"productId": product["productId"], "quantity": 1}],
        "customer": {"name": me["name"], "email": me["email"], "phone": "+919876543210"},
        "shippingAddress": {"line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka", "postcode": "560001", "country": "IN"},
        "payment": {"method": method}})
    bought = checkout("k-1", "wallet")
    customer.wait(f"/checkouts/{bought['checkoutId']}", lambda found: found["status"] == "completed")
    checkout("k-cancelled", "wallet")
    customer.post("/checkout/cancel", {"clientOrderId": "k-cancelled"})
    checkout("k-open", "gateway")
    customer.post("/wallet/topups", {"clientTopupId": "t-1", "amount": rupees(5_000)})
    admin.post("/queues/payments-queue/pause")
    admin.post("/queues/payments-queue/resume")

    applicant = api.register("Asha")
    applicant.send("PUT", "/kyc", {
        "businessType": "individual", "legalName": "Asha Rao", "pan": "ABCPR1234F", "aadhaar": "9999 4105 7058",
        "bankAccount": {"accountNumber": "123456789012", "ifsc": "HDFC0000123"},
        "address": {"line1": "12 MG Road", "city": "Bengaluru", "state": "Karnataka", "pincode": "560001"}})
    for kind in ("pan_card", "cancelled_cheque", "address_proof"):
        applicant.upload(kind)
    applicant.post("/kyc/submit")
    applicant.wait("/kyc", lambda found: found["state"] == "verified")
    admin.get(f"/kyc/applications/{applicant.id}")
    api.register("Ravi").send("PUT", "/kyc", {"businessType": "individual", "legalName": "Ravi Rao"})

    tenant = admin.post("/tenants", {"slug": "kiran", "name": "Kiran Stores"})
    manager = api.register("Mira")
    admin.send("PATCH", f"/users/{manager.id}", {"role": "manager"})
    for member in (applicant, manager):
        admin.send("PUT", f"/tenants/{tenant['tenantId']}/members/{member.id}")
    admin.post("/audit/legal-holds", {"kind": "order", "id": confirmed["orderId"], "reason": "A dispute"})
    auditor.get(f"/audit/orders/{confirmed['orderId']}")
    run = admin.post("/schedules/ledger-check/run")
    admin.wait("/schedules/ledger-check/runs", lambda runs: all(
        one["state"] != "started" for one in runs["items"] if one["runId"] == run["runId"]))
    merchant.wait(f"/webhook-deliveries?endpointId={endpoint['endpointId']}", lambda page: any(one["attempts"] for one in page["items"]))
    # What waits is given up by nobody, so that seals and events are on their way too.
    time.sleep(3)
    merchant.order(extract("x-open"), "in_progress", "confirmed")
    api.stand_in("/parcelx/_control/rules", {"operation": "create", "mode": "500"})
    opened = merchant.post("/orders/create", parcel("c-open"))
    merchant.wait(f"/orders/{opened['orderId']}", lambda order: order["providerSyncStatus"] == "unknown")


def dump(uri, out):
    client = MongoClient(uri)
    db = client.get_default_database()
    names = sorted(name for name in db.list_collection_names() if not name.startswith("system."))
    options = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL, tz_aware=True)
    line = lambda value: out.write(json_util.dumps(value, json_options=options, ensure_ascii=False) + "\n")
    line({"at": datetime.now(timezone.utc)})
    empty = []
    with client.start_session(snapshot=True) as session:
        for name in names:
            for index in db[name].list_indexes():
                index = {key: value for key, value in index.to_dict().items() if key not in ("v", "ns")}
                if index["name"] != "_id_":
                    line({"collection": name, "index": index})
            found = list(db[name].find({}, session=session).sort("_id", -1).limit(MARKERS.get(name, DOCUMENTS_MAX + 1)))
            if len(found) > DOCUMENTS_MAX:
                raise SystemExit(f"{name} has more than {DOCUMENTS_MAX} documents")
            for document in reversed(found):
                line({"collection": name, "document": document})
            if not found:
                empty.append(name)
    print(f"{len(names)} collections; nothing in {', '.join(empty) or 'none of them'}", file=sys.stderr)


def main():
    log, path = sys.argv[1:]
    said = open(log, encoding="utf-8").read()
    find = lambda pattern: re.search(pattern, said, re.MULTILINE).group(1)
    api = Api(find(r"^api +(\S+)"), find(r"^carrier +(\S+)/parcelx"))
    live(api)
    with open(path, "w", encoding="utf-8") as out:
        dump(find(r"^mongodb +(\S+)"), out)


if __name__ == "__main__":
    main()
