// The Node.js runtime client of Lambic: AWS Lambda's Runtime API on one raw socket.
//
// Life: take over the inherited socket (or connect to AWS_LAMBDA_RUNTIME_API), load the function's
// module (CommonJS or ES), then for ever: ask for an event, call the handler, send its result or
// error. What a function can see (context, callbacks, error documents, console format, exit codes)
// is as on AWS. While a handler runs the socket does not keep the event loop alive, so that an
// empty loop ends an invocation that never called back. When the platform closes the socket the
// process ends quietly.
//
// A handler that streams its response writes to the stream of `streaming.mjs`, which is only loaded
// for such a handler. A spare, which is started before there is a function, rehearses and then takes on
// the function's variables and working directory in `spare.mjs`; nothing here may have kept a variable
// before that. One that others are copied from stands still in `zygote.mjs` before it asks. No packages,
// Node.js 18 and later.

import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import util from 'node:util';

const API = '/2018-06-01/runtime/';
const HEAD_END = Buffer.from('\r\n\r\n');
const HEAD_BYTES_MAX = 1 << 20;
const READ_BYTES = 1 << 16;
// Longer answers are sent by themselves.
const JOINED_BYTES_MAX = 1 << 15;
// What the platform says to a response, as it writes it on the inherited socket.
const ACCEPTED = Buffer.from(
  'HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n' +
    '{"status":"OK"}\n'
);
// Whatever the function makes of `fs`.
const { writeSync } = fs;
const ERROR_TYPE = 'Lambda-Runtime-Function-Error-Type';

// ---- Errors -----------------------------------------------------------------------------------

class RuntimeError extends Error {}
const runtimeErrors = {};
for (const name of [
  'ImportModuleError',
  'HandlerNotFound',
  'MalformedHandlerName',
  'UserCodeSyntaxError',
  'CallbackHandlerDeprecated',
  'MalformedStreamingHandler',
  'InvalidStreamingOperation',
]) {
  runtimeErrors[name] = { [name]: class extends RuntimeError {} }[name];
  runtimeErrors[name].prototype.name = `Runtime.${name}`;
}

class UnhandledPromiseRejection extends RuntimeError {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}
UnhandledPromiseRejection.prototype.name = 'Runtime.UnhandledPromiseRejection';

const isErrorLike = (thing) =>
  util.types.isNativeError(thing) ||
  (thing &&
    typeof thing.name === 'string' &&
    typeof thing.message === 'string' &&
    typeof thing.stack === 'string');

// The document that the caller of the function gets.
function errorDocument(error) {
  try {
    if (isErrorLike(error)) {
      return {
        errorType: error.name,
        errorMessage: error.message,
        trace: String(error.stack).split('\n'),
      };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage:
        'callback called with Error argument, but there was a problem while retrieving ' +
        'one or more of its message, name, and stack',
    };
  }
}

// The error as the log shows it.
function errorForLog(thing) {
  const error = thing instanceof Error ? thing : new Error(thing);
  const shown = (_key, value) => {
    if (!(value instanceof Error)) return value;
    const members = { errorType: value.name, errorMessage: value.message, code: value.code };
    Object.assign(members, value);
    if (typeof value.stack === 'string') members.stack = value.stack.split('\n');
    return members;
  };
  try {
    return '\t' + JSON.stringify(error, shown);
  } catch {
    return '\t' + JSON.stringify(errorDocument(error));
  }
}

// ---- Console ----------------------------------------------------------------------------------

let requestId;
let tenantId;

const FRAME = 0xa55a0003;
const FRAME_HEAD_BYTES = 16;
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
// Known when the function's variables are.
let isJson = false;

// Writes one record; one of several lines as a frame, so that the platform keeps it together. It
// goes to standard output, so that it keeps its place among what is printed.
function writeRecord(text, level, date) {
  if (!text.includes('\n')) {
    process.stdout.write(text + '\n');
    return;
  }
  const bytes = Buffer.byteLength(text) + 1;
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + bytes);
  frame.writeUInt32BE((FRAME | ((LEVELS.indexOf(level) + 1) << 2)) >>> 0, 0);
  frame.writeUInt32BE(bytes, 4);
  frame.writeBigUInt64BE(BigInt(date.valueOf()) * 1000n, 8);
  frame.write(text + '\n', FRAME_HEAD_BYTES);
  process.stdout.write(frame);
}

const errorMembers = ({ constructor, message, stack }) => ({
  errorType: constructor?.name ?? 'UnknownError',
  errorMessage: message,
  stackTrace: typeof stack === 'string' ? stack.split('\n') : [],
});
const errorsTaken = (_key, value) =>
  value instanceof Error ? { ...errorMembers(value), ...value } : value;

// One value stays what it is; several become a text, and the first error among them is taken apart.
function jsonRecord(level, date, params) {
  const record = { timestamp: date.toISOString(), level, requestId, tenantId };
  if (params.length === 1) {
    try {
      return JSON.stringify({ ...record, message: params[0] }, errorsTaken);
    } catch {
      // It refers to itself, or holds what JSON has not.
      return JSON.stringify({ ...record, message: util.format(params[0]) });
    }
  }
  record.message = util.format(...params);
  const error = params.find((param) => param instanceof Error);
  return JSON.stringify(error ? { ...record, ...errorMembers(error) } : record);
}

const textRecord = (level, date, params) =>
  `${date.toISOString()}\t${requestId}\t${level}\t${util.format(...params)}`;

// Records of a lower level are not written. Whatever the level, what ends the application is told.
let lowest = 0;

function patchConsole() {
  const logger = (level) => {
    const rank = level === 'FATAL' ? LEVELS.length : LEVELS.indexOf(level);
    return (...params) => {
      if (rank < lowest) return;
      const date = new Date();
      writeRecord((isJson ? jsonRecord : textRecord)(level, date, params), level, date);
    };
  };
  for (const level of LEVELS) console[level.toLowerCase()] = logger(level);
  console.log = console.info;
}

function configureConsole() {
  isJson = (process.env.AWS_LAMBDA_LOG_FORMAT || '').toUpperCase() === 'JSON';
  lowest = LEVELS.indexOf((process.env.AWS_LAMBDA_LOG_LEVEL || 'TRACE').toUpperCase());
}

// An error that ended an invocation, or the process.
function logError(what, thing) {
  if (isJson) console.error(thing instanceof Error ? thing : new Error(thing));
  else console.error(what, errorForLog(thing));
}

// ---- Connection -------------------------------------------------------------------------------

// HTTP/1.1 to the Runtime API. A response goes together with the request for the next event; what
// the platform says to it comes with that event.
class Connection {
  constructor() {
    const inherited = process.env._LAMBIC_RUNTIME_FD;
    delete process.env._LAMBIC_RUNTIME_FD;
    // All is read into the same buffer, and copied if it has to be kept.
    const onread = {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback: (bytes, buffer) => {
        this.take(buffer.subarray(0, bytes));
        return true;
      },
    };
    if (inherited !== undefined) {
      this.fd = Number(inherited);
      this.socket = new net.Socket({ fd: this.fd, readable: true, writable: true, onread });
    } else {
      const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
      this.socket = net.connect({ port: Number(port), host, onread });
      this.socket.setNoDelay(true);
    }
    this.socket.resume();
    // What has come of a message that is not whole, and how long that will be.
    this.parts = [];
    this.bytes = 0;
    this.needed = 0;
    this.waiting = undefined;
    // Whether the next event has been asked for, with a response that is still to be confirmed.
    this.hasAsked = false;
    this.isConfirmed = true;
    this.posting = false;
    this.exitCode = undefined;
    // See `respond`. Whatever ends the process, what the handler has returned is told.
    this.answer = undefined;
    process.on('exit', () => this.finish(''));
    for (const event of ['end', 'close', 'error']) this.socket.on(event, () => process.exit(0));
  }

  // The function's variables are known.
  start() {
    this.host = process.env.AWS_LAMBDA_RUNTIME_API;
    this.nextRequest = this.head('GET', 'invocation/next', '');
    this.jsonHead = this.head('POST', '*', 'Content-Type: application/json\r\nContent-Length: ');
    this.jsonHead = this.jsonHead.slice(0, -2).split('*');
  }

  head(method, route, more) {
    return (
      `${method} ${API}${route} HTTP/1.1\r\nHost: ${this.host}\r\n` +
      `User-Agent: lambic-nodejs/${process.versions.node}\r\n${more}\r\n`
    );
  }

  // Calls back with the headers (lower-case names) and the body of the next event.
  next(callback) {
    this.socket.ref();
    const taken = (headers, body) => {
      // The platform is done with this environment, for instance after a timeout.
      if (headers[':status'] !== '200') process.exit(0);
      this.socket.unref();
      callback(headers, body);
    };
    if (this.hasAsked) {
      this.hasAsked = false;
      this.waiting = taken;
    } else {
      this.request(this.nextRequest, undefined, taken);
    }
  }

  // Sends JSON that the handler returned, and asks for the next event at once if it is short. Not before
  // this turn of the event loop is over: a promise that nobody waits for may have been rejected in it,
  // and a process that is about to end takes no other event.
  respond(route, text, callback) {
    if (text.length > JOINED_BYTES_MAX) {
      this.post(route, text, { 'Content-Type': 'application/json' }, callback);
      return;
    }
    const [begin, end] = this.jsonHead;
    this.answer = `${begin}${route}${end}${Buffer.byteLength(text)}\r\n\r\n${text}`;
    setImmediate(() => {
      this.hasAsked = true;
      this.isConfirmed = false;
      this.finish(this.nextRequest);
      callback();
    });
  }

  // Sends the answer that is held back, if there is one, and `more`.
  finish(more) {
    if (this.answer === undefined) return;
    const text = this.answer + more;
    this.answer = undefined;
    this.write(Buffer.from(text));
  }

  post(route, body, headers, callback) {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body, 'utf8');
    let more = '';
    for (const [name, value] of Object.entries(headers)) more += `${name}: ${value}\r\n`;
    this.socket.ref();
    this.posting = true;
    const head = this.head('POST', route, `${more}Content-Length: ${bytes.length}\r\n`);
    this.request(head, bytes, () => this.posted(callback));
  }

  posted(callback) {
    this.socket.unref();
    this.posting = false;
    callback();
    if (this.exitCode !== undefined) process.exit(this.exitCode);
  }

  // Begins a request whose body the caller writes to the socket. Until that ends it does not keep the
  // event loop alive.
  begin(route, headers, callback) {
    this.posting = true;
    this.request(this.head('POST', route, headers), undefined, () => this.posted(callback));
  }

  // Its body has ended; what is left is the answer.
  waits() {
    this.socket.ref();
  }

  // Ends the process, but not before what is being posted has arrived.
  exit(code) {
    if (this.posting) this.exitCode = code;
    else process.exit(code);
  }

  request(head, body, callback) {
    this.waiting = callback;
    if (body === undefined) {
      this.write(Buffer.from(head, 'latin1'));
    } else if (body.length < 65536) {
      this.write(Buffer.concat([Buffer.from(head, 'latin1'), body]));
    } else {
      this.socket.cork();
      this.socket.write(head, 'latin1');
      this.socket.write(body);
      this.socket.uncork();
    }
  }

  // Without the detour of a stream where the socket takes it all, as it does as a rule.
  write(data) {
    let rest = data;
    if (this.fd !== undefined && this.socket.writableLength === 0) {
      try {
        rest = data.subarray(writeSync(this.fd, data));
      } catch (error) {
        if (error.code !== 'EAGAIN') process.exit(0);
      }
    }
    if (rest.length > 0) this.socket.write(rest);
  }

  // `data` is only valid until this returns.
  take(data) {
    let all = data;
    if (this.bytes > 0) {
      this.parts.push(Buffer.from(data));
      this.bytes += data.length;
      if (this.bytes < this.needed) return;
      all = Buffer.concat(this.parts, this.bytes);
      [this.parts, this.bytes, this.needed] = [[], 0, 0];
    }
    let from = 0;
    while (from < all.length) {
      const length = this.message(all, from);
      if (length === 0) {
        this.parts = [Buffer.from(all.subarray(from))];
        this.bytes = all.length - from;
        return;
      }
      from += length;
    }
  }

  // Takes the message that begins there. How long it is; 0 when it is not whole.
  message(all, from) {
    const after = from + ACCEPTED.length;
    if (!this.isConfirmed && after <= all.length && ACCEPTED.compare(all, from, after) === 0) {
      this.isConfirmed = true;
      return ACCEPTED.length;
    }
    const end = all.indexOf(HEAD_END, from);
    if (end < 0) {
      if (all.length - from > HEAD_BYTES_MAX) process.exit(1);
      return 0;
    }
    const headers = parseHead(all.toString('utf8', from, end));
    const begin = end + HEAD_END.length;
    const length = begin - from + Number(headers['content-length'] || 0);
    const body = all.subarray(begin, from + length);
    if (all.length < from + length) {
      this.needed = length;
      return 0;
    }
    if (!this.isConfirmed) {
      // Whether it was accepted or came too late makes no difference here.
      this.isConfirmed = true;
      return length;
    }
    const callback = this.waiting;
    this.waiting = undefined;
    if (callback) callback(headers, body);
    return length;
  }
}

function parseHead(text) {
  const lines = text.split('\r\n');
  const headers = { ':status': lines[0].slice(9, 12) };
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  return headers;
}

const headerText = (text) => String(text).replace(/[^\x20-\x7e]/g, '');

function serialized(value) {
  try {
    return JSON.stringify(value === undefined ? null : value) ?? 'null';
  } catch {
    throw new Error('Unable to stringify response body');
  }
}

function postError(connection, route, error, callback) {
  const document = errorDocument(error);
  const headers = { 'Content-Type': 'application/json' };
  headers[ERROR_TYPE] = headerText(document.errorType);
  connection.post(route, JSON.stringify(document), headers, callback);
}

// ---- Loading the function ---------------------------------------------------------------------

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const require = createRequire(import.meta.url);

function offerStreaming() {
  globalThis.awslambda = {
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (typeof options?.highWaterMark === 'number') handler[WATER_MARK] = options.highWaterMark;
      return handler;
    },
    HttpResponseStream: {
      from(stream, prelude) {
        stream.setContentType('application/vnd.awslambda.http-integration-response');
        const text = JSON.stringify(prelude);
        stream._onBeforeFirstWrite = (write) => {
          write(text);
          write(new Uint8Array(8));
        };
        return stream;
      },
    },
  };
}

function isModuleFolder(folder) {
  if (folder.endsWith('/node_modules')) return false;
  const manifest = path.join(folder, 'package.json');
  if (fs.existsSync(manifest)) {
    try {
      return JSON.parse(fs.readFileSync(manifest, 'utf8')).type === 'module';
    } catch (error) {
      console.warn(
        `${manifest} cannot be read, it will be ignored for ES module detection purposes.`,
        error
      );
      return false;
    }
  }
  return folder === '/' ? false : isModuleFolder(path.resolve(folder, '..'));
}

// In the order of AWS's client: no extension, .js by package.json's type, .mjs, .cjs, then as
// Node.js itself would resolve it.
async function loadModule(root, folder, name) {
  const base = path.resolve(root, folder, name);
  if (fs.existsSync(base)) {
    const loaded = require(base);
    if (loaded) return loaded;
  }
  if (fs.existsSync(base + '.js')) {
    if (isModuleFolder(path.dirname(base))) return import(pathToFileURL(base + '.js'));
    return require(base + '.js');
  }
  if (fs.existsSync(base + '.mjs')) return import(pathToFileURL(base + '.mjs'));
  if (fs.existsSync(base + '.cjs')) return require(base + '.cjs');
  return require(require.resolve(name, { paths: [root, folder] }));
}

async function loadHandler(root, full) {
  if (full.includes('..')) {
    throw new runtimeErrors.MalformedHandlerName(
      `'${full}' is not a valid handler name. ` +
        'Use absolute paths when specifying root directories in handler names.'
    );
  }
  const last = path.basename(full);
  const folder = full.substring(0, full.indexOf(last));
  const match = last.match(/^([^.]*)\.(.*)$/);
  if (!match) throw new runtimeErrors.MalformedHandlerName('Bad handler');
  let found;
  try {
    found = await loadModule(root, folder, match[1]);
  } catch (error) {
    if (error instanceof SyntaxError) throw new runtimeErrors.UserCodeSyntaxError(error);
    if (error?.code === 'MODULE_NOT_FOUND') throw new runtimeErrors.ImportModuleError(error);
    throw error;
  }
  for (const key of match[2].split('.')) found = found && found[key];
  if (!found) throw new runtimeErrors.HandlerNotFound(`${full} is undefined or not exported`);
  if (typeof found !== 'function') {
    throw new runtimeErrors.HandlerNotFound(`${full} is not a function`);
  }
  const release = Number(/nodejs(\d+)/.exec(process.env.AWS_EXECUTION_ENV || '')?.[1] || 0);
  if (release >= 24 && found.length >= 3 && !found[STREAMING]) {
    throw new runtimeErrors.CallbackHandlerDeprecated(
      'AWS Lambda has removed support for callback-based function handlers starting with ' +
        'Node.js 24. You need to modify this function to use a supported handler signature to ' +
        'use Node.js 24 or later. For more information see ' +
        'https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.'
    );
  }
  if (found[STREAMING] && found[STREAMING] !== 'response') {
    throw new runtimeErrors.MalformedStreamingHandler('Only response streaming is supported.');
  }
  return found;
}

// ---- Invocations ------------------------------------------------------------------------------

const parseJson = (text, name) => {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Cannot parse ${name} as json: ${error}`);
  }
};

function contextOf(headers) {
  const { env } = process;
  if (headers['lambda-runtime-trace-id']) {
    env._X_AMZN_TRACE_ID = headers['lambda-runtime-trace-id'];
  } else {
    delete env._X_AMZN_TRACE_ID;
  }
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  return {
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parseJson(headers['lambda-runtime-client-context'], 'ClientContext'),
    identity: parseJson(headers['lambda-runtime-cognito-identity'], 'CognitoIdentity'),
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: requestId,
    tenantId,
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

// What happens when the event loop runs empty; on AWS that ends an invocation.
let whenEmpty = () => {};

class Runtime {
  constructor(connection, handler, ResponseStream) {
    this.connection = connection;
    this.handler = handler;
    this.ResponseStream = ResponseStream;
    this.failed = undefined;
  }

  next() {
    const take = (headers, body) => {
      requestId = headers['lambda-runtime-aws-request-id'];
      tenantId = headers['lambda-runtime-aws-tenant-id'];
      const route = `invocation/${encodeURIComponent(requestId)}`;
      if (this.ResponseStream) this.stream(route, headers, body);
      else this.begin(route, headers, body);
    };
    if (this.connection.hasAsked) this.connection.next(take);
    // From a fresh turn of the event loop, so that nothing of the last invocation is on the stack.
    else setImmediate(() => this.connection.next(take));
  }

  begin(route, headers, body) {
    const { connection } = this;
    let ended = false;
    const once = (action) => (...args) => {
      if (ended) return;
      ended = true;
      whenEmpty = () => {};
      action(...args);
    };
    const fail = once((error, then) => {
      postError(connection, `${route}/error`, error, then ?? (() => this.next()));
    });
    const succeed = once((value) => {
      let text;
      try {
        text = serialized(value);
      } catch (error) {
        postError(connection, `${route}/error`, error, () => this.next());
        return;
      }
      connection.respond(`${route}/response`, text, () => this.next());
    });
    // A crash is reported as this invocation's error; then the process ends.
    this.failed = (error, code) => {
      if (ended) connection.exit(code);
      else fail(error, () => process.exit(code));
    };
    runPlain(this.handler, headers, body, { fail, succeed });
  }

  // A handler that writes to a stream. Its invocation is over when the handler has returned and the
  // stream has finished, whichever is later.
  async stream(route, headers, body) {
    const { connection, handler } = this;
    const out = new this.ResponseStream(connection, `${route}/response`, {
      highWaterMark: handler[WATER_MARK],
      TooLate: runtimeErrors.InvalidStreamingOperation,
    });
    const context = { callbackWaitsForEmptyEventLoop: true };
    let over = false;
    const next = () => {
      over = true;
      const go = () => {
        whenEmpty = () => {};
        this.next();
      };
      if (context.callbackWaitsForEmptyEventLoop) whenEmpty = go;
      else go();
    };
    const fail = (error) => {
      if (over) return;
      over = true;
      logError('Invoke Error', error);
      whenEmpty = () => {};
      out.fail(errorDocument(error), next);
    };
    // A crash is reported as this invocation's error, as far as that is possible; then the process
    // ends.
    this.failed = (error, code) => {
      const exit = () => process.exit(code);
      if (over) return connection.exit(code);
      over = true;
      if (out.hasBegun) out.fail(errorDocument(error), exit);
      else postError(connection, `${route}/error`, error, exit);
    };
    // Nothing is left that could end the stream. AWS lets it wait for the timeout then.
    whenEmpty = () => fail('Response stream is not finished.');
    try {
      const event = JSON.parse(body.toString('utf8'));
      const result = handler(event, out, Object.assign(context, contextOf(headers)));
      if (!result || typeof result.then !== 'function') {
        return fail('Streaming does not support non-async handlers.');
      }
      if ((await result) !== undefined) console.warn('Streaming handlers ignore return values.');
      const broken = await out.settled;
      if (broken !== undefined) fail(broken);
      else if (!over) next();
    } catch (error) {
      fail(error);
    }
  }
}

// A handler that returns a promise or calls back.
function runPlain(handler, headers, body, { fail, succeed }) {
  let waits = true;
  let called = false;
  const first = (action) => (...args) => {
    if (called) return;
    called = true;
    action(...args);
  };
  const failed = (error) => {
    logError('Invoke Error', error);
    fail(error);
  };
  const done = (error, value) => {
    if (error !== undefined && error !== null) failed(error);
    else succeed(value);
  };
  const callback = first((error, value) => {
    if ((error !== undefined && error !== null) || !waits) {
      done(error, value);
    } else {
      whenEmpty = () => setImmediate(() => succeed(value));
    }
  });
  const context = {
    get callbackWaitsForEmptyEventLoop() {
      return waits;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waits = value;
    },
    succeed: first((value) => done(null, value)),
    fail: first((error) => done(error ?? 'handled')),
    done: first(done),
  };
  whenEmpty = () => succeed(null);
  try {
    const event = JSON.parse(body.toString('utf8'));
    const result = handler(event, Object.assign(context, contextOf(headers)), callback);
    if (result && typeof result.then === 'function') {
      // The same first-call rule as on AWS: a promise that settles after a callback is nothing.
      result.then(context.succeed, context.fail);
    }
  } catch (error) {
    callback(error);
  }
}

// ---- Main -------------------------------------------------------------------------------------

const connection = new Connection();
// As long as it is nobody's. What goes wrong then is no function's.
let isSpare = process.env._LAMBIC_SPARE !== undefined;
let runtime;

function crashed(what, error, code) {
  logError(what, error);
  if (isSpare) process.exit(code);
  if (runtime?.failed) runtime.failed(error, code);
  // It has asked for its first event already, or is about to end anyway.
  else if (connection.waiting) connection.exit(code);
  else postError(connection, 'init/error', error, () => process.exit(code));
}
patchConsole();
process.on('uncaughtException', (error) => crashed('Uncaught Exception', error, 129));
process.on('unhandledRejection', (reason, promise) => {
  const error = new UnhandledPromiseRejection(reason, promise);
  crashed('Unhandled Promise Rejection', error, 128);
});
process.on('beforeExit', () => whenEmpty());

if (isSpare) {
  const spare = await import('./spare.mjs');
  const client = { connection, Runtime, loadHandler, jsonRecord, textRecord, configureConsole, offerStreaming };
  const rehearse = () => spare.rehearse(client);
  await rehearse();
  if (process.env._LAMBIC_TEMPLATE === undefined) {
    // What that has left is not to be collected while a function starts.
    globalThis.gc?.({ type: 'minor' });
    await spare.become(await spare.asked(connection));
  } else {
    const isAwaited = await (await import('./zygote.mjs')).standAsTemplate(connection.fd);
    const asked = spare.asked(connection);
    // Memory is a copy's own from when it first writes to it, which takes time: so now, while it waits.
    if (!isAwaited) await rehearse();
    await spare.become(await asked);
  }
  [requestId, whenEmpty, isSpare] = [undefined, () => {}, false];
}
configureConsole();
connection.start();
connection.socket.unref();

offerStreaming();
const folders = (process.env.NODE_PATH || '').split(':').filter((folder) => {
  return folder.endsWith('node_modules') && fs.existsSync(folder);
});
if (folders.length > 0) (await import('./modules.mjs')).search(folders);
const root = process.env.LAMBDA_TASK_ROOT || process.cwd();
const handler = await loadHandler(root, process.env._HANDLER || '');
const streaming = handler[STREAMING] ? await import('./streaming.mjs') : undefined;
runtime = new Runtime(connection, handler, streaming?.ResponseStream);
runtime.next();
