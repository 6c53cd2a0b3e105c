// A server that goes to places by name with what Node.js has for it; see `names.py`.

import { promises as dns } from "node:dns";
import https from "node:https";
import readline from "node:readline";

const tools = {
  // c-ares, not the C library.
  resolve: async ({ host }) => (await dns.resolve4(host)).join(" "),
  get: ({ host }) =>
    new Promise((done) => https.get(`https://${host}/`, () => done("answered")).on("error", (error) => done(error.code))),
};

const methods = {
  initialize: ({ params }) => ({
    protocolVersion: params.protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: "names-node", version: "1.0.0" },
  }),
  "tools/list": () => ({ tools: Object.keys(tools).map((name) => ({ name, inputSchema: { type: "object" } })) }),
  "tools/call": async ({ id, params }) => ({
    content: [{ type: "text", text: await tools[params.name](params.arguments ?? {}) }],
    _meta: { "tests/id": id },
  }),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.id === undefined || request.method === undefined) continue;
  const method = methods[request.method];
  const answer = method
    ? { result: await method(request) }
    : { error: { code: -32601, message: `no method ${request.method}` } };
  process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", id: request.id, ...answer })}\n`);
}
