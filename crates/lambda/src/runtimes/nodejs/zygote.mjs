// What a zygote of the Node.js runtime does: it says that it is there and stands still, in one call, for
// ever. The platform copies it there with all of its threads. A copy, in whose place the platform has put
// another stream and other pipes, finds that call ended with an error, which tells whether somebody waits for
// it, and takes on what must not be the same in all of them. Only loaded in a zygote.

import fs from 'node:fs';
import v8 from 'node:v8';

// On which a template that can fork itself would be told to. A copy has it no more.
const TEMPLATE_FD = 6;
const DRAWS_MAX = 1024;

// Returns in each copy, and never in the zygote. Whether somebody waits for the copy.
export async function standAsTemplate(stream) {
  // A copy that collects what has been left here would write to, and so have, memory of its own.
  for (let round = 0; round < 2; round += 1) globalThis.gc?.();
  const word = Buffer.alloc(64);
  let isAwaited;
  fs.writeSync(stream, '\n');
  for (;;) {
    try {
      if (fs.readSync(TEMPLATE_FD, word) === 0) process.exit(0);
    } catch (error) {
      if (error.code !== 'EBADF' && error.code !== 'ECANCELED') process.exit(0);
      isAwaited = error.code === 'ECANCELED';
      break;
    }
  }
  const pid = Number(fs.readlinkSync('/proc/self'));
  if (process.pid !== pid) {
    const known = Object.getOwnPropertyDescriptor(process, 'pid');
    Object.defineProperty(process, 'pid', { ...known, value: pid });
  }
  drawAnew();
  // A turn of the event loop: the platform trusts a zygote whose first copy comes so far.
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  return isAwaited;
}

// `crypto` draws from OpenSSL, which knows a copy by its number. `Math.random()` draws from a state that
// V8 makes at its first call: from this flag, or from a generator that copies have in common. (Where the
// flag stays set it is taken for every context, and built-in modules are compiled anew.)
function drawAnew() {
  const [seed, own, others] = seeds();
  v8.setFlagsFromString(`--random-seed=${(seed % 0x7fffffff) + 1}`);
  for (let draw = own % DRAWS_MAX; draw >= 0; draw -= 1) Math.random();
  v8.setFlagsFromString('--random-seed=0');
  // The common one moves on by one for each object that a set takes: it is drawn from for contexts of
  // `node:vm`.
  const seen = new Set();
  for (let draw = others % DRAWS_MAX; draw > 0; draw -= 1) seen.add({});
}

function seeds() {
  const file = fs.openSync('/dev/urandom');
  const drawn = new Uint32Array(3);
  try {
    fs.readSync(file, drawn);
  } finally {
    fs.closeSync(file);
  }
  return drawn;
}
