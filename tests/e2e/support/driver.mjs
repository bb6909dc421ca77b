// Drives the JavaScript SDK v3 from the tests: one JSON command a line on standard input, one JSON
// result a line on standard output. Bytes travel as {"base64": "…"}.

import { createInterface } from "node:readline";
import * as sdk from "@aws-sdk/client-lambda";

const [endpoint, region] = process.argv.slice(2);
const client = new sdk.LambdaClient({
  endpoint,
  region,
  maxAttempts: 1,
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
});

function toBytes(value) {
  if (value && typeof value === "object") {
    if (typeof value.base64 === "string") return Buffer.from(value.base64, "base64");
    for (const key of Object.keys(value)) value[key] = toBytes(value[key]);
  }
  return value;
}

function fromBytes(key, value) {
  return value instanceof Uint8Array ? { base64: Buffer.from(value).toString("base64") } : value;
}

// Takes the events of a streamed answer; after the first one another command is run.
async function stream(input, after) {
  const answer = await client.send(new sdk.InvokeWithResponseStreamCommand(toBytes(input)));
  const { EventStream, ...head } = answer;
  const events = [];
  for await (const event of EventStream ?? []) {
    if (events.push(event) === 1 && after) await run(after);
  }
  return { head, events };
}

async function run({ command, input, after }) {
  if (command === "InvokeWithResponseStream") return stream(input, after);
  if (command.startsWith("waitUntil")) {
    const waiter = { client, maxWaitTime: 30, minDelay: 0.1, maxDelay: 0.2 };
    return (await sdk[command](waiter, input)).state;
  }
  if (command.startsWith("paginate")) {
    const pages = [];
    const { pageSize, ...rest } = input;
    for await (const page of sdk[command]({ client, pageSize }, rest)) pages.push(page);
    return pages;
  }
  return client.send(new sdk[`${command}Command`](toBytes(input)));
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { ok: (await run(JSON.parse(line))) ?? null };
  } catch (error) {
    const { name, message, $metadata, $fault, Reason, Type } = error;
    answer = { error: { name, message, status: $metadata?.httpStatusCode, fault: $fault, Reason, Type } };
  }
  // Uint8Array has a toJSON-less shape of its own, so it is replaced before it is written.
  process.stdout.write(`${JSON.stringify(answer, fromBytes)}\n`);
}
