// What a spare of the Node.js runtime loads and calls once, before it has a function.

exports.handler = async (event) => event;
