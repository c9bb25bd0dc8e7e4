// Never run: `npm run check` compiles it, and every line that is said to fail has to.
import { Waybill, type Order } from "../src/waybill.js";

export async function types(waybill: Waybill) {
  const order: Order = await waybill.call("GET /orders/{orderId}", { path: { orderId: "ord_1" } });
  const status: "confirmed" | string = order.status;
  for await (const one of waybill.list("GET /orders", { query: { limit: 2 } })) void one.orderId.length;
  const { available } = await waybill.call("GET /wallet");
  // @ts-expect-error there is no such route
  await waybill.call("GET /nothing");
  // @ts-expect-error nor such a parameter
  await waybill.call("GET /orders", { query: { statuses: "failed" } });
  // @ts-expect-error it is a text
  await waybill.call("POST /orders/cancel", { body: { clientOrderId: 1 } });
  // @ts-expect-error an order has no such field
  void order.sold;
  return [status, available];
}
