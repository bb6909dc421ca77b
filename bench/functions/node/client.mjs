// A small Runtime API client on Node.js's own HTTP agent, for the peers that bring none. It does what
// a client has to do and nothing else, which is in the peers' favour.
import http from "node:http";
import { handler } from "./index.mjs";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const base = "/2018-06-01/runtime/invocation";

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) };
    const request = http.request({ host, port, method, path, agent, headers }, (reply) => {
      const parts = [];
      reply.on("data", (part) => parts.push(part));
      reply.on("end", () => resolve([reply.headers, Buffer.concat(parts).toString()]));
    });
    request.on("error", reject);
    request.end(body);
  });
}

for (;;) {
  const [headers, event] = await call("GET", `${base}/next`);
  const id = headers["lambda-runtime-aws-request-id"];
  const answer = JSON.stringify(await handler(JSON.parse(event)));
  await call("POST", `${base}/${id}/response`, answer);
}
