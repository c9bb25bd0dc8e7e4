// The client against servers that behave badly; `tests/it/clients.rs` runs `real.js` against the real one.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { test } from "node:test";

import { NoAnswer, Problem, Waybill, verifyWebhook } from "../src/waybill.js";

/** A server whose nth answer is `answers[n]` (the last one stays), and what it was asked. */
async function serve(t, ...answers) {
  const asked = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      asked.push({ method: request.method, url: request.url, headers: request.headers, body, at: Date.now() });
      answers[Math.min(asked.length, answers.length) - 1](request, response);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  t.after(() => server.close());
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const client = new Waybill({ baseUrl: `http://127.0.0.1:${port}/`, token: async () => "tok", firstDelayMs: 4, attempts: 4 });
  return { asked, client };
}

const json = (status, body, headers = {}) => (_, response) => {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
};
const dropped = (request) => request.socket.destroy();
const order = /** @type {any} */ ({ clientOrderId: "c-1", provider: "parcelx" });

test("an order is sent again with the same id until there is an answer", async (t) => {
  const { asked, client } = await serve(t, dropped, json(503, { code: "service.overloaded" }), json(201, { orderId: "ord_1" }));
  assert.deepEqual(await client.createOrder(order), { orderId: "ord_1" });
  assert.equal(asked.length, 3);
  assert.deepEqual(new Set(asked.map((one) => one.body)), new Set([JSON.stringify(order)]));
  assert.equal(asked[0]?.headers.authorization, "Bearer tok");
});

test("an answer that stays the same is given at once", async (t) => {
  const problem = { code: "orders.idempotency_mismatch", detail: "Use a new one.", requestId: "rqs_1", errors: [] };
  const { asked, client } = await serve(t, json(422, problem));
  await assert.rejects(client.createOrder(order), (error) => {
    assert(error instanceof Problem);
    assert.deepEqual([error.status, error.code, error.requestId], [422, "orders.idempotency_mismatch", "rqs_1"]);
    return true;
  });
  assert.equal(asked.length, 1);
});

test("Retry-After is waited for", async (t) => {
  const { asked, client } = await serve(t, json(429, {}, { "retry-after": "1" }), json(200, {}));
  await client.createOrder(order);
  assert((asked[1]?.at ?? 0) - (asked[0]?.at ?? 0) >= 1000);
});

test("without any answer it is said how often it was asked", async (t) => {
  const { asked, client } = await serve(t, dropped);
  await assert.rejects(client.createOrder(order), (error) => error instanceof NoAnswer && error.attempts === 4);
  assert.equal(asked.length, 4);
});

test("an aborted call ends while it waits", async (t) => {
  const { asked, client } = await serve(t, json(503, {}, { "retry-after": "30" }));
  await assert.rejects(client.createOrder(order, AbortSignal.timeout(100)), { name: "TimeoutError" });
  assert.equal(asked.length, 1);
});

test("an answer of something in between is a problem too", async (t) => {
  const { client } = await serve(t, (_, response) => response.writeHead(404).end("<html>not here</html>"));
  await assert.rejects(client.call("GET /wallet"), { code: "http.404", status: 404 });
});

test("paths are filled in and queries written", async (t) => {
  const { asked, client } = await serve(t, json(200, {}));
  await client.call("GET /orders/{orderId}", { path: { orderId: "a/b" } });
  await client.call("GET /orders", { query: { limit: 2 } });
  assert.deepEqual(asked.map((one) => one.url), ["/orders/a%2Fb", "/orders?limit=2"]);
  await assert.rejects(client.callSafely("GET /orders/{orderId}"), /orderId is missing/);
});

test("a list is read to its end", async (t) => {
  const { asked, client } = await serve(
    t,
    json(200, { items: [{ orderId: "1" }], nextCursor: "x" }),
    json(200, { items: [], nextCursor: "y" }),
    json(200, { items: [{ orderId: "2" }], nextCursor: null }),
  );
  const ids = [];
  for await (const one of client.list("GET /orders")) ids.push(one.orderId);
  assert.deepEqual(ids, ["1", "2"]);
  assert.deepEqual(asked.map((one) => one.url), ["/orders", "/orders?cursor=x", "/orders?cursor=y"]);
});

test("a webhook is taken only as it was signed, and in time", () => {
  const key = Buffer.from("0123456789abcdef");
  const secret = `whsec_${key.toString("base64")}`;
  const body = JSON.stringify({ type: "order.confirmed", timestamp: "2026-01-01T00:00:00Z", data: { orderId: "ord_1" } });
  const signed = (at = Math.floor(Date.now() / 1000), text = body, with_ = key) => ({
    "webhook-id": "evt_1",
    "webhook-timestamp": String(at),
    "webhook-signature": `v1,AAAA v1,${createHmac("sha256", with_).update(`evt_1.${at}.${text}`).digest("base64")}`,
  });
  assert.equal(verifyWebhook(secret, signed(), body).data.orderId, "ord_1");
  assert.equal(verifyWebhook(secret, new Headers(signed()), Buffer.from(body)).type, "order.confirmed");
  const now = Math.floor(Date.now() / 1000);
  for (const [headers, sent] of /** @type {[Record<string, string>, string][]} */ ([
    [signed(now - 400), body],
    [signed(now + 400), body],
    [signed(), `${body} `],
    [signed(now, body, Buffer.from("another")), body],
    [{ ...signed(), "webhook-timestamp": "soon" }, body],
    [{ ...signed(), "webhook-id": "evt_2" }, body],
    [{ ...signed(), "webhook-signature": "v1" }, body],
    [{ "webhook-id": "evt_1" }, body],
  ])) {
    assert.throws(() => verifyWebhook(secret, headers, sent), Error, JSON.stringify(headers));
  }
});
