// Lets `import` find what only NODE_PATH leads to, such as the modules of layers. Node.js itself looks
// there for `require` alone; AWS's does for both since release 18.
//
// Loaded only when there is such a folder: a Node.js without `registerHooks` (before 22.15) loads this
// file into a thread of its own as well, which costs tens of milliseconds.

import module from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const require = module.createRequire(import.meta.url);
const MISSING = 'ERR_MODULE_NOT_FOUND';
let parents = [];

export function search(folders) {
  if (module.registerHooks) {
    initialize(folders);
    module.registerHooks({ resolve: resolveNow });
  } else {
    module.register(import.meta.url, { data: folders });
  }
}

// A module that stands beside a folder of modules finds what is in it.
export function initialize(folders) {
  parents = folders.map((folder) => pathToFileURL(path.join(folder, '..', 'import')).href);
}

// What to try one after the other: as usual, beside each folder, and as `require` does, which also
// looks into folders of other names.
function* attempts(specifier, context) {
  yield [specifier, context];
  if (/^(\.{0,2}\/|#|[a-z][a-z0-9+.-]*:)/i.test(specifier)) return;
  for (const parentURL of parents) yield [specifier, { ...context, parentURL }];
  let file;
  try {
    file = require.resolve(specifier);
  } catch {
    return;
  }
  yield [pathToFileURL(file).href, context];
}

function resolveNow(specifier, context, next) {
  let missing;
  for (const attempt of attempts(specifier, context)) {
    try {
      return next(...attempt);
    } catch (error) {
      if (error?.code !== MISSING) throw error;
      missing ??= error;
    }
  }
  throw missing;
}

export async function resolve(specifier, context, next) {
  let missing;
  for (const attempt of attempts(specifier, context)) {
    try {
      return await next(...attempt);
    } catch (error) {
      if (error?.code !== MISSING) throw error;
      missing ??= error;
    }
  }
  throw missing;
}
