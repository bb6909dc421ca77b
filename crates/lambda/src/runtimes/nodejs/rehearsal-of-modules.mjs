// What a spare of the Node.js runtime loads as it loads a function that is an ES module.

export const handler = async (event) => event;
