// An MCP client for the end-to-end tests, on the official TypeScript SDK: v1 for the handshake era,
// v2 when a command asks for the era 2026-07-28. Takes the same commands as drive.py, which says how.

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/stdio.js';
import {
  CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { StdioClientTransport as TransportV2, getDefaultEnvironment } from '@modelcontextprotocol/client/stdio';

// Longest text handed back: the tests check the size of large results, not their bytes.
const TEXT_LIMIT = 16 * 1024;
// Longer than any call of the tests: they watch calls of more than the SDK's own minute.
const TIMEOUT = { timeout: 300_000 };

const me = { name: 'mcpwatch-drive', version: '1.0.0' };
const servers = new Map();
// Every request to a server so far, method and id, by its name and by its command line.
const sent = new Map();
const commandLine = ({ command, args = [] }) => JSON.stringify([command, args]);

// v2 asks a process of its own which revision the server speaks, over a transport that it makes itself: only the
// class is there to be overheard. Servers with one command line are not told apart.
for (const Transport of [TransportV1, TransportV2]) {
  const { send } = Transport.prototype;
  Transport.prototype.send = function (message, ...rest) {
    if (message.method !== undefined && message.id !== undefined) {
      sent.get(commandLine(this._serverParams))?.push([message.method, message.id]);
    }
    return send.call(this, message, ...rest);
  };
}

function makeClient(era, answers) {
  if (era !== '2026-07-28') return answers ? makeAnsweringClient() : new ClientV1(me);
  return new ClientV2(me, { versionNegotiation: { mode: { pin: '2026-07-28' } } });
}

function makeAnsweringClient() {
  const client = new ClientV1(me, { capabilities: { elicitation: {}, roots: {}, sampling: {} } });
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { name: 'Ada' } }));
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///srv/notes', name: 'notes' }] }));
  client.setRequestHandler(CreateMessageRequestSchema, () => (
    { role: 'assistant', content: { type: 'text', text: 'Grüezi' }, model: 'none' }
  ));
  return client;
}

function makeTransport(era, { command, args = [], env = {}, cwd }) {
  const Transport = era === '2026-07-28' ? TransportV2 : TransportV1;
  return new Transport({ command, args, env: { ...getDefaultEnvironment(), ...env }, cwd, maxBufferSize: 64 << 20 });
}

function brief(result) {
  for (const item of result.content ?? []) {
    item.bytes = Buffer.byteLength(item.text ?? '');
    item.text = item.text?.slice(0, TEXT_LIMIT);
  }
  return result;
}

const operations = {
  async start({ config, servers: names, era, answers }) {
    const entries = JSON.parse(readFileSync(config, 'utf8')).mcpServers;
    const started = {};
    await Promise.all((names ?? Object.keys(entries)).map(async (name) => {
      const client = makeClient(era, answers);
      const transport = makeTransport(era, entries[name]);
      // v1 tells the revision to the transport alone, if that wants to know: over stdio it does not.
      let protocol;
      transport.setProtocolVersion ??= (agreed) => { protocol = agreed; };
      const requests = [];
      sent.set(name, requests).set(commandLine(entries[name]), requests);
      await client.connect(transport);
      servers.set(name, client);
      const { name: own, version } = client.getServerVersion() ?? {};
      protocol = client.getNegotiatedProtocolVersion?.() ?? protocol;
      started[name] = { name: own, version, protocol };
    }));
    return started;
  },

  async call({ server, tool, arguments: args, cancel_after: cancelAfter }) {
    const cancel = new AbortController();
    if (cancelAfter !== undefined) setTimeout(() => cancel.abort(), cancelAfter * 1000);
    const client = servers.get(server);
    const params = { name: tool, arguments: args };
    const options = { ...TIMEOUT, signal: cancel.signal };
    try {
      // v1 takes a result schema before the options.
      return brief(await (client instanceof ClientV1
        ? client.callTool(params, undefined, options)
        : client.callTool(params, options)));
    } catch (error) {
      if (cancel.signal.aborted) return { cancelled: true };
      throw error;
    }
  },

  async request({ server, method, params }) {
    const client = servers.get(server);
    const methods = {
      'tools/list': () => client.listTools(params),
      'resources/list': () => client.listResources(params),
      'resources/read': () => client.readResource(params),
      'prompts/list': () => client.listPrompts(params),
      'prompts/get': () => client.getPrompt(params),
      ping: () => client.ping(),
    };
    return brief(await methods[method]());
  },

  async sent({ server }) {
    return sent.get(server);
  },

  async stop({ servers: names }) {
    for (const name of names ?? [...servers.keys()]) {
      await servers.get(name).close();
      servers.delete(name);
      sent.delete(name);
    }
    return {};
  },
};

const socket = connect(process.argv[2]);
const lines = createInterface({ input: socket });
lines.on('line', async (line) => {
  const command = JSON.parse(line);
  let answer;
  try {
    answer = { ok: true, result: await operations[command.op](command) };
  } catch (error) {
    answer = { ok: false, error: `${error.name}: ${error.message}` };
  }
  socket.write(JSON.stringify({ ...answer, n: command.n }) + '\n');
});
lines.on('close', async () => {
  await operations.stop({});
  process.exit(0);
});
