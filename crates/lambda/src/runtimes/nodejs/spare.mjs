// What a spare does before it is a function's runtime: it rehearses, asks on the inherited socket what
// it becomes, and waits. Only loaded in a spare.

import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

// Does once what every function needs, because Node.js makes or compiles it only when it is first used:
// loading a module, taking an event, answering, the console. Leaves nothing behind but what is faster by
// it.
export async function rehearse({ Runtime, loadHandler, jsonRecord, textRecord }) {
  void process.stdout;
  for (const render of [jsonRecord, textRecord]) render('INFO', new Date(), ['%s', 'rehearsal']);
  const here = path.dirname(fileURLToPath(import.meta.url));
  const handler = await loadHandler(here, 'rehearsal.handler');
  const headers = { 'lambda-runtime-aws-request-id': '', 'lambda-runtime-deadline-ms': '0' };
  await new Promise((resolve) => {
    let events = 1;
    const nobody = {
      next: (callback) => (events-- > 0 ? callback(headers, Buffer.from('{}')) : resolve()),
      respond: (_route, _text, callback) => callback(),
    };
    new Runtime(nobody, handler).next();
  });
  const { cache } = createRequire(import.meta.url);
  delete cache[path.join(here, 'rehearsal.cjs')];
}

// Waits until there is a function, and takes on what it was to be started with.
export async function become(connection) {
  const { env, cwd } = await new Promise((resolve) => {
    connection.request('GET /lambic/become HTTP/1.1\r\nHost: lambic\r\n\r\n', undefined, (headers, body) => {
      // The platform does not want it.
      if (headers[':status'] !== '200') process.exit(0);
      resolve(JSON.parse(body.toString('utf8')));
    });
  });
  for (const name of Object.keys(process.env)) {
    if (!(name in env)) delete process.env[name];
  }
  for (const [name, value] of Object.entries(env)) {
    if (process.env[name] !== value) process.env[name] = value;
  }
  delete process.env._LAMBIC_RUNTIME_FD;
  process.chdir(cwd);
  // From a fresh turn of the event loop, so that stacks of errors look as ever.
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}
