// Client of the Waybill API. Types: waybill.d.ts and, made from the API's description, schema.d.ts.
import { createHmac, timingSafeEqual } from "node:crypto";

/** Another attempt may be answered otherwise. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
const LONGEST_DELAY_MS = 15_000;
/** A server that says so is waited for as long as this, and no longer. */
const LONGEST_RETRY_AFTER_S = 60;
const WEBHOOK_AGE_S = 300;

export class Problem extends Error {
  constructor(status, body, headers) {
    super(`${body.code ?? status}: ${body.detail ?? body.title ?? "no problem+json came with this status"}`);
    this.name = "Problem";
    this.status = status;
    this.code = body.code ?? `http.${status}`;
    this.requestId = body.requestId ?? headers.get("x-request-id");
    this.errors = body.errors ?? [];
    const seconds = Number(headers.get("retry-after") ?? NaN);
    this.retryAfter = Number.isFinite(seconds) ? seconds : null;
    this.body = body;
  }
}

export class NoAnswer extends Error {
  constructor(attempts, cause) {
    super(`no answer after ${attempts} attempt(s): ${cause?.message ?? cause}; repeat it with the same ids`, { cause });
    this.name = "NoAnswer";
    this.attempts = attempts;
  }
}

export class Waybill {
  #options;

  constructor(options) {
    if (!options?.baseUrl) throw new TypeError("baseUrl is missing");
    this.#options = { timeoutMs: 30_000, attempts: 8, firstDelayMs: 250, fetch: globalThis.fetch, ...options };
  }

  async call(route, { path, query, body, signal } = {}) {
    const [method, template] = route.split(" ");
    const filled = template.replace(/\{(\w+)\}/g, (_, name) => {
      if (path?.[name] === undefined) throw new TypeError(`${route}: path.${name} is missing`);
      return encodeURIComponent(path[name]);
    });
    const url = new URL(this.#options.baseUrl.replace(/\/$/, "") + filled);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined && value !== null) url.searchParams.set(name, value);
    }
    const { token, timeoutMs } = this.#options;
    const headers = { accept: "application/json" };
    if (token) headers.authorization = `Bearer ${typeof token === "function" ? await token() : token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const ended = new AbortController();
    const end = () => ended.abort(signal.reason);
    const timer = setTimeout(() => ended.abort(new DOMException(`${timeoutMs} ms passed`, "TimeoutError")), timeoutMs);
    signal?.addEventListener("abort", end, { once: true });
    let answer, text;
    try {
      signal?.throwIfAborted();
      answer = await this.#options.fetch(url, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        redirect: "error",
        signal: ended.signal,
      });
      text = await answer.text();
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
    }
    let said;
    try {
      said = text === "" ? undefined : JSON.parse(text);
    } catch (error) {
      // What stands between may answer in words of its own; a success that can't be read is no answer.
      if (answer.ok) throw new Error(`${route}: the answer is no JSON`, { cause: error });
    }
    if (!answer.ok) throw new Problem(answer.status, said !== null && typeof said === "object" ? said : {}, answer.headers);
    return said;
  }

  async callSafely(route, args = {}) {
    const { attempts, firstDelayMs } = this.#options;
    for (let attempt = 1; ; attempt++) {
      let failure;
      try {
        return await this.call(route, args);
      } catch (error) {
        failure = error;
      }
      args.signal?.throwIfAborted();
      const answered = failure instanceof Problem;
      if (failure instanceof TypeError && failure.cause === undefined) throw failure;
      if (answered && !PASSING.has(failure.status)) throw failure;
      if (attempt >= attempts) throw answered ? failure : new NoAnswer(attempt, failure);
      const doubled = Math.min(firstDelayMs * 2 ** (attempt - 1), LONGEST_DELAY_MS);
      const asked = answered && failure.retryAfter ? Math.min(failure.retryAfter, LONGEST_RETRY_AFTER_S) * 1000 : 0;
      // Never earlier than the server asks for; spread out, so that not all clients come back at once.
      await pause(Math.max(asked, doubled / 2) + Math.random() * (doubled / 2), args.signal);
    }
  }

  createOrder(order, signal) {
    return this.callSafely("POST /orders/create", { body: order, signal });
  }

  cancelOrder(clientOrderId, reason, signal) {
    const body = reason === undefined ? { clientOrderId } : { clientOrderId, reason };
    return this.callSafely("POST /orders/cancel", { body, signal });
  }

  checkOut(checkout, signal) {
    return this.callSafely("POST /checkout", { body: checkout, signal });
  }

  async *list(route, args = {}) {
    let cursor = args.query?.cursor;
    do {
      const page = await this.callSafely(route, { ...args, query: { ...args.query, cursor } });
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor);
  }
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve(undefined);
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

export function verifyWebhook(secret, headers, body) {
  const header = (name) => (typeof headers.get === "function" ? headers.get(name) : headers[name]);
  const [id, at, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => {
    const value = header(name);
    if (typeof value !== "string" || value === "") throw new Error(`${name} is missing`);
    return value;
  });
  if (!/^\d+$/.test(at) || Math.abs(Date.now() / 1000 - Number(at)) > WEBHOOK_AGE_S) {
    throw new Error("webhook-timestamp is not within five minutes of now");
  }
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${at}.`).update(body).digest();
  const good = signatures.split(" ").some((signature) => {
    const given = Buffer.from(signature.startsWith("v1,") ? signature.slice(3) : "", "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  if (!good) throw new Error("the webhook was not signed with this secret");
  return JSON.parse(typeof body === "string" ? body : Buffer.from(body).toString("utf8"));
}
