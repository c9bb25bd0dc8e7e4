import type { paths } from "./schema.js";

type Method = "get" | "put" | "post" | "patch" | "delete";
/** `METHOD /path` of every operation. */
export type Route = {
  [P in keyof paths]: { [M in Method]: paths[P][M] extends object ? `${Uppercase<M>} ${P & string}` : never }[Method];
}[keyof paths];
type Operation<R extends Route> = R extends `${infer M} ${infer P}`
  ? P extends keyof paths ? (Lowercase<M> extends keyof paths[P] ? paths[P][Lowercase<M>] : never) : never
  : never;
type Json<T> = T extends { content: { "application/json": infer Body } } ? Body : undefined;
type Ok<O> = O extends { responses: infer Responses }
  ? { [S in keyof Responses]: S extends 200 | 201 | 202 | 204 ? Json<Responses[S]> : never }[keyof Responses]
  : never;
type Part<O, Name extends "path" | "query"> = O extends { parameters: infer Parameters }
  ? Name extends keyof Parameters ? Parameters[Name] : undefined
  : undefined;

/** What a route takes. */
export interface Arguments<R extends Route> {
  /** What stands in braces in the path. */
  path?: Part<Operation<R>, "path">;
  query?: Part<Operation<R>, "query">;
  /** Sent as JSON. */
  body?: Operation<R> extends { requestBody?: infer Body } ? Json<NonNullable<Body>> : undefined;
  /** Ends the call. */
  signal?: AbortSignal;
}
/** What a route answers when it succeeds. */
export type Answer<R extends Route> = Ok<Operation<R>>;
export type NewOrder = NonNullable<Arguments<"POST /orders/create">["body"]>;
export type Order = Answer<"POST /orders/create">;
export type NewCheckout = NonNullable<Arguments<"POST /checkout">["body"]>;
export type Checkout = Answer<"POST /checkout">;

export interface Options {
  /** Where the API is, such as `https://api.example.com`. */
  baseUrl: string;
  /** An access token or API key, or what gives one: it is asked for each request. */
  token?: string | (() => string | Promise<string>);
  /** How long one request may take, in milliseconds; by default 30 seconds. */
  timeoutMs?: number;
  /** How often a request that is safe to repeat is sent; by default 8 times. */
  attempts?: number;
  /** How long to wait before the second attempt, in milliseconds; doubled each time up to 15 seconds; by default 250. */
  firstDelayMs?: number;
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch;
}

/** An answer that is no success: RFC 9457 `application/problem+json`. */
export class Problem extends Error {
  /** HTTP status. */
  status: number;
  /** `module.reason`, stable. */
  code: string;
  /** Quote it when asking for help. */
  requestId: string | null;
  /** Fields to blame. */
  errors: { field: string; code: string; message: string }[];
  /** Seconds to wait, where the answer says so. */
  retryAfter: number | null;
  /** The whole problem. */
  body: Record<string, unknown>;
}

/** No answer came, however often it was asked: whether the request was carried out is not known. Repeat it with the same ids. */
export class NoAnswer extends Error {
  attempts: number;
}

export class Waybill {
  constructor(options: Options);
  /** Sends one request once. */
  call<R extends Route>(route: R, args?: Arguments<R>): Promise<Answer<R>>;
  /**
   * Sends a request until there is an answer that another attempt can't improve. Only for what is safe to repeat: reads, and
   * whatever takes an id of yours.
   */
  callSafely<R extends Route>(route: R, args?: Arguments<R>): Promise<Answer<R>>;
  /** Creates an order, over lost connections and restarts: once, whatever happens, because `clientOrderId` stays the same. */
  createOrder(order: NewOrder, signal?: AbortSignal): Promise<Order>;
  /** Takes an order back; safe to repeat. */
  cancelOrder(clientOrderId: string, reason?: string, signal?: AbortSignal): Promise<Answer<"POST /orders/cancel">>;
  /** Buys a cart; safe to repeat. */
  checkOut(checkout: NewCheckout, signal?: AbortSignal): Promise<Checkout>;
  /** All entries of a list, page by page. */
  list<R extends Route>(route: R, args?: Arguments<R>): AsyncGenerator<Answer<R> extends { items: (infer Item)[] } ? Item : never>;
}

export interface WebhookHeaders {
  get(name: string): string | null;
}
export interface WebhookEvent {
  type: string;
  timestamp: string;
  data: Record<string, unknown>;
}

/**
 * What a webhook says, if Waybill signed it within the last five minutes; else it throws.
 * @param secret `whsec_...` of the endpoint.
 * @param headers As they came: a `Headers`, or an object with names in lower case (Node's `request.headers`).
 * @param body Byte for byte as it came, before any parsing.
 */
export function verifyWebhook(
  secret: string,
  headers: WebhookHeaders | Record<string, string | string[] | undefined>,
  body: string | Uint8Array,
): WebhookEvent;
