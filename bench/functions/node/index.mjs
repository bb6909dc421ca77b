// The Node.js function that is measured: it adds one.
export const handler = async (event) => ({ ok: true, n: event.n + 1 });
