// The Node.js function of the soak: does what its event says, as `churn/native` does.
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect, createServer } from "node:net";

const LEFT_MAX = 30;
const environment = randomUUID();
const clean = readdirSync("/tmp").length === 0;
const sockets = [];
let count = 0;
let children = 0;

export const handler = async (event) => {
  count += 1;
  await act(event);
  return { n: event.n + 1, function: process.env.AWS_LAMBDA_FUNCTION_NAME, environment, count, clean };
};

const forever = () => new Promise((resolve) => setTimeout(resolve, 60_000));

async function act(event) {
  if (event.bytes) console.log(Array(Math.floor(event.bytes / 100)).fill("x".repeat(99)).join("\n"));
  switch (event.do) {
    case "quick":
    case "print": return;
    case "allocate": return void Buffer.alloc(32 << 20, 1);
    case "write": return writeFileSync(`/tmp/churn-${count % 4}`, Buffer.alloc(1 << 20, 7));
    case "fork":
      for (let left = 0; left < 3 && children < LEFT_MAX; left += 1, children += 1) {
        spawn("sleep", ["1000"], { stdio: "inherit" }).unref();
      }
      return;
    case "exec": return void execFileSync("true");
    case "socket": return openSockets();
    case "throw": throw new TypeError("on purpose");
    case "exit": return process.exit(event.code);
    case "signal":
      process.kill(process.pid, event.signal);
      return forever();
    case "oom":
      for (const kept = []; ; ) kept.push(Buffer.alloc(8 << 20, 1));
    case "sleep": return forever();
    default: throw new Error(`'${event.do}' is nothing this function can do`);
  }
}

async function openSockets() {
  if (sockets.length < LEFT_MAX) {
    const server = createServer((other) => sockets.push(other));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const one = connect(server.address().port, "127.0.0.1");
    await new Promise((resolve, reject) => one.once("connect", resolve).once("error", reject));
    sockets.push(server, one);
  }
  await new Promise((resolve, reject) => {
    const asked = request(process.env.AWS_ENDPOINT_URL, { agent: false }, (reply) => reply.resume().once("end", resolve));
    asked.once("error", reject).end();
  });
}
