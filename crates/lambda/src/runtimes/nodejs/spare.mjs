// What a spare does before it is a function's runtime: it rehearses, asks on the inherited socket what
// it becomes, and waits. Only loaded in a spare.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const VARIABLES = ['AWS_LAMBDA_FUNCTION_NAME', 'AWS_LAMBDA_RUNTIME_API', 'AWS_REGION', '_HANDLER'];
const VARIABLES_OF_ITS_OWN = 24;
let rounds = 0;

// Does once what every function needs, because Node.js makes or compiles it only when it is first used:
// learning what it becomes, loading a module, taking an event, answering, the console. Leaves nothing
// behind but what is faster by it.
export async function rehearse(client) {
  rounds += 1;
  void process.stdout;
  const here = path.dirname(fileURLToPath(import.meta.url));
  const [kept, cwd] = [{ ...process.env }, process.cwd()];
  takeOn(heard(client.connection, { env: variables(kept), cwd }));
  client.configureConsole();
  client.connection.start();
  client.offerStreaming();
  for (const render of [client.jsonRecord, client.textRecord]) {
    render('INFO', new Date(), ['%s', 'rehearsal']);
  }
  const handler = await client.loadHandler(here, 'rehearsal.handler');
  // A module of the other kind is loaded once for each name.
  await import(`./rehearsal-of-modules.mjs?${rounds}`);
  await oneEvent(client, handler);
  const { cache } = createRequire(import.meta.url);
  delete cache[path.join(here, 'rehearsal.cjs')];
  delete globalThis.awslambda;
  takeOn({ env: kept, cwd });
}

function variables(kept) {
  const env = { ...kept };
  for (const name of VARIABLES) env[name] = 'rehearsal';
  for (let number = 0; number < VARIABLES_OF_ITS_OWN; number += 1) {
    env[`_LAMBIC_REHEARSAL_${number}`] = 'x'.repeat(32);
  }
  return env;
}

function message(headers, text) {
  const head = `HTTP/1.1 200 OK\r\n${headers}content-length: ${Buffer.byteLength(text)}\r\n\r\n`;
  return Buffer.from(head + text);
}

// What the connection makes of a message with this document.
function heard(connection, document) {
  if (connection.bytes > 0) return document;
  const { waiting } = connection;
  let found;
  connection.waiting = (_headers, body) => {
    found = JSON.parse(body.toString('utf8'));
  };
  connection.take(message('content-type: application/json\r\n', JSON.stringify(document)));
  connection.waiting = waiting;
  return found;
}

// One event for the handler, on a connection to nobody.
async function oneEvent({ Runtime, connection }, handler) {
  const kind = Object.getPrototypeOf(connection);
  const nobody = Object.assign(Object.create(kind), connection);
  const headers =
    'lambda-runtime-aws-request-id: rehearsal\r\nlambda-runtime-trace-id: rehearsal\r\n' +
    'lambda-runtime-invoked-function-arn: rehearsal\r\nlambda-runtime-deadline-ms: 0\r\n';
  const event = message(headers, '{"rehearsal":1}');
  nobody.socket = { ref() {}, unref() {}, writableLength: 0 };
  nobody.fd = fs.openSync('/dev/null', 'w');
  [nobody.parts, nobody.bytes, nobody.waiting] = [[], 0, undefined];
  await new Promise((resolve) => {
    let asked = false;
    nobody.write = (data) => {
      kind.write.call(nobody, data);
      if (asked) resolve();
      else setImmediate(() => nobody.take(event));
      asked = true;
    };
    new Runtime(nobody, handler).next();
  });
  fs.closeSync(nobody.fd);
}

// Asks what there is to become, and waits for it.
export function asked(connection) {
  return new Promise((resolve) => {
    connection.request('GET /lambic/become HTTP/1.1\r\nHost: lambic\r\n\r\n', undefined, (headers, body) => {
      // The platform does not want it.
      if (headers[':status'] !== '200') process.exit(0);
      resolve(JSON.parse(body.toString('utf8')));
    });
  });
}

// Takes on what it was to be started with.
export async function become(document) {
  takeOn(document);
  // From a fresh turn of the event loop, so that stacks of errors look as ever.
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function takeOn({ env, cwd }) {
  for (const name of Object.keys(process.env)) {
    if (!(name in env)) delete process.env[name];
  }
  for (const [name, value] of Object.entries(env)) {
    if (process.env[name] !== value) process.env[name] = value;
  }
  delete process.env._LAMBIC_RUNTIME_FD;
  process.chdir(cwd);
}
