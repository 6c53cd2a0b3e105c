// An MCP server on SDK v2 that speaks the stateless revision 2026-07-28 alone.

import { readFile } from 'node:fs/promises';

import { McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

function makeServer() {
  const server = new McpServer({ name: 'modern', version: '2.0.1' });
  server.registerTool(
    'read_note',
    { description: 'Reads a note.', inputSchema: z.object({ path: z.string() }) },
    async ({ path }) => ({ content: [{ type: 'text', text: await readFile(path, 'utf8') }] }),
  );
  server.registerTool(
    'echo',
    { description: 'Says it again.', inputSchema: z.object({ text: z.string() }) },
    async ({ text }) => ({ content: [{ type: 'text', text }] }),
  );
  return server;
}

serveStdio(makeServer, { legacy: 'reject' });
