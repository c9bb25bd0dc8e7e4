// Works with a real server as a program of a merchant would. usage:
//   node real.js orders BASE TOKEN COUNT   creates COUNT orders from the one on stdin, four at a time; prints their ids as JSON
//   node real.js webhook SECRET            verifies {"headers": {...}, "body": "..."} from stdin; prints the event
import { text } from "node:stream/consumers";

import { Waybill, verifyWebhook } from "../src/waybill.js";

const [what, ...args] = process.argv.slice(2);
const input = JSON.parse(await text(process.stdin));
if (what === "orders") {
  const [baseUrl, token, count] = args;
  const client = new Waybill({ baseUrl: baseUrl ?? "", token, timeoutMs: 5_000, firstDelayMs: 50, attempts: 40 });
  const orders = [];
  let next = 0;
  const work = async () => {
    while (next < Number(count)) {
      const clientOrderId = `ts-${next++}`;
      const order = await client.createOrder({ ...input, clientOrderId });
      orders.push({ clientOrderId, orderId: order.orderId });
      process.stderr.write(".");
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  console.log(JSON.stringify(orders));
} else {
  console.log(JSON.stringify(verifyWebhook(args[0] ?? "", input.headers, input.body)));
}
