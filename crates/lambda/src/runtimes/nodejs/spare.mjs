// What a spare does before it is a function's runtime: it loads what every function needs, asks on the
// inherited socket what it becomes, and waits. Only loaded in a spare.
//
// It waits in a plain read: nothing else is to happen meanwhile, and nothing wakes up faster.

import fs from 'node:fs';
import { createRequire } from 'node:module';

const REQUEST = 'GET /lambic/become HTTP/1.1\r\nHost: lambic\r\n\r\n';
const HEAD_BYTES_MAX = 1 << 20;
const CHUNK_BYTES = 1 << 16;

export function become() {
  warm();
  const { env, cwd } = ask(Number(process.env._LAMBIC_RUNTIME_FD));
  for (const name of Object.keys(process.env)) {
    if (!(name in env)) delete process.env[name];
  }
  for (const [name, value] of Object.entries(env)) {
    if (process.env[name] !== value) process.env[name] = value;
  }
  process.chdir(cwd);
}

// Uses once what Node.js only makes, or compiles, when it is first used.
function warm() {
  void process.stdout;
  createRequire(import.meta.url)('./empty.cjs');
}

function ask(fd) {
  fs.writeSync(fd, REQUEST);
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let data = Buffer.alloc(0);
  for (;;) {
    const end = data.indexOf('\r\n\r\n');
    if (end >= 0) {
      const head = data.toString('latin1', 0, end);
      const length = Number(/^content-length: *(\d+)$/im.exec(head)?.[1] ?? 0);
      const from = end + 4;
      if (!head.startsWith('HTTP/1.1 200')) process.exit(0);
      if (data.length >= from + length) return JSON.parse(data.toString('utf8', from, from + length));
    } else if (data.length > HEAD_BYTES_MAX) process.exit(1);
    const count = fs.readSync(fd, buffer);
    // The platform does not want it.
    if (count === 0) process.exit(0);
    data = Buffer.concat([data, buffer.subarray(0, count)]);
  }
}
