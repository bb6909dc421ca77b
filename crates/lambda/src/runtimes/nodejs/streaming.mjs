// A handler's response stream: what it writes goes to the Runtime API while the handler runs.
//
// Life: nothing is sent until the first write or the end → each write is one chunk of the request's
// body → the end, with an error in the trailers if the handler failed → the platform's reply. Only
// then has the stream finished. A stream that is destroyed half-way is still brought to an end in the
// trailers, because the socket is needed for the next event.

import { Writable } from 'node:stream';

const HEAD =
  'Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n' +
  'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n';

const headerText = (text) => String(text).replace(/[^\x20-\x7e]/g, '');

export class ResponseStream extends Writable {
  #connection;
  #route;
  #TooLate;
  #contentType = 'application/octet-stream';
  #isWritten = false;
  #trailers = '';
  #replied;
  #onReply;
  #isLast = false;
  #onFinal;

  constructor(connection, route, { highWaterMark, TooLate }) {
    super({ highWaterMark });
    this.#connection = connection;
    this.#route = route;
    this.#TooLate = TooLate;
    // Fulfilled when the platform has answered, so that there can be another request.
    this.#replied = new Promise((resolve) => (this.#onReply = resolve));
    // Fulfilled when the stream has finished; with an error, when it never will.
    this.settled = new Promise((resolve) => {
      this.once('finish', () => resolve());
      this.once('close', () => resolve(this.errored ?? 'Response stream is not finished.'));
    });
    // Whoever writes is told in the callback; an error that nobody else hears does not end the process.
    this.on('error', () => {});
    this.hasBegun = false;
  }

  setContentType(type) {
    if (this.#isWritten) throw new this.#TooLate('Cannot set content-type, too late.');
    this.#contentType = type;
  }

  write(chunk, encoding, callback) {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) chunk = JSON.stringify(chunk);
    if (!this.#isWritten) {
      this.#isWritten = true;
      // Public on AWS, too: what stands before the first chunk.
      if (typeof this._onBeforeFirstWrite === 'function') {
        this._onBeforeFirstWrite((first) => super.write(first));
      }
    }
    return super.write(chunk, encoding, callback);
  }

  end(chunk, encoding, callback) {
    if (typeof chunk === 'function') return super.end(chunk);
    if (typeof encoding === 'function') [encoding, callback] = [undefined, encoding];
    if (chunk !== undefined && chunk !== null) this.write(chunk, encoding);
    return super.end(callback);
  }

  // Ends the stream with an error, unless it has been ended already; `then` comes after the reply.
  fail(document, then) {
    if (!this.writableEnded) {
      const body = Buffer.from(JSON.stringify(document), 'utf8').toString('base64');
      this.#trailers =
        `Lambda-Runtime-Function-Error-Type: ${headerText(document.errorType)}\r\n` +
        `Lambda-Runtime-Function-Error-Body: ${body}\r\n`;
    }
    if (this.destroyed) this.#finish(() => {});
    else if (!this.writableEnded) super.end();
    this.#replied.then(then);
  }

  _write(chunk, _encoding, callback) {
    this.#send([chunk], callback);
  }

  _writev(entries, callback) {
    this.#send(entries.map((entry) => entry.chunk), callback);
  }

  _final(callback) {
    this.#finish(callback);
  }

  #begin() {
    if (this.hasBegun) return;
    this.hasBegun = true;
    const type = `Content-Type: ${headerText(this.#contentType)}\r\n`;
    this.#connection.begin(this.#route, HEAD + type, () => this.#take());
  }

  #send(chunks, callback) {
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    // A chunk without bytes would be the last one.
    if (bytes === 0) return callback();
    const { socket } = this.#connection;
    socket.cork();
    this.#begin();
    socket.write(`${bytes.toString(16)}\r\n`, 'latin1');
    for (const chunk of chunks) socket.write(chunk);
    socket.write('\r\n', 'latin1', callback);
    socket.uncork();
  }

  #finish(callback) {
    if (this.#isLast) return;
    this.#isLast = true;
    this.#onFinal = callback;
    const { socket } = this.#connection;
    socket.cork();
    this.#begin();
    socket.write(`0\r\n${this.#trailers}\r\n`, 'latin1');
    socket.uncork();
    this.#connection.waits();
  }

  // The platform has answered.
  #take() {
    if (this.#isLast) {
      this.#onFinal();
      this.#onReply();
    } else {
      // Before the end: the stream is too long. What is written from now on goes nowhere.
      this.#isLast = true;
      this.#connection.socket.write('0\r\n\r\n', 'latin1');
      this.destroy(new Error('The response stream was ended by the platform.'));
      this.#onReply();
    }
  }
}
