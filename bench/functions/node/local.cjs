// The Node.js function that is measured, for lambda-local, which loads no ECMAScript modules.
exports.handler = async (event) => ({ ok: true, n: event.n + 1 });
