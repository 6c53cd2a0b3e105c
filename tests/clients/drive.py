"""An MCP client for the end-to-end tests, on the official Python SDK.

It connects to the unix socket given as its argument and takes one JSON command a line:

    {"n": 1, "op": "start", "config": "…/mcp.json", "servers": ["a"], "era": "auto"}
    {"n": 2, "op": "call", "server": "a", "tool": "echo", "arguments": {"text": "hi"}}
    {"n": 3, "op": "request", "server": "a", "method": "resources/read", "params": {"uri": "x://y"}}
    {"n": 4, "op": "sent", "server": "a"}
    {"n": 5, "op": "stop", "servers": ["a"]}

Commands run side by side; each is answered with {"n": …, "ok": true, "result": …} or
{"n": …, "ok": false, "error": "…"}. `cancel_after` (seconds) on a call gives it up; with `answers` on a start, the
client answers what its servers ask: without, it says that it cannot, as servers do other things for one that can.
`sent` gives every request to a server so far, those that the SDK makes by itself among them: method and id.
The client itself keeps stdin and stdout as they were: only its servers have private channels.
"""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

# Longest text handed back: the tests check the size of large results, not their bytes.
TEXT_LIMIT = 16 * 1024


async def user_says(context, params):
    return ElicitResult(action="accept", content={"name": "Ada"})


async def roots(context):
    return ListRootsResult(roots=[Root(uri="file:///srv/notes", name="notes")])


async def model_says(context, params):
    text = TextContent(type="text", text="Grüezi")
    return CreateMessageResult(role="assistant", content=text, model="none")


ANSWERS = {
    "elicitation_callback": user_says,
    "list_roots_callback": roots,
    "sampling_callback": model_says,
}


@asynccontextmanager
async def overheard(transport, sent):
    """A transport that notes each request it is given to send."""
    async with transport as (read, write):
        send = write.send

        async def note_and_send(message):
            request = message.message
            if hasattr(request, "method") and hasattr(request, "id"):
                sent.append([request.method, request.id])
            await send(message)

        write.send = note_and_send
        yield read, write


class Server:
    """One running server: a task owns its connection, as anyio's cancel scopes demand."""

    def __init__(self, entry, era, answers):
        self.entry = entry
        self.era = era
        self.answers = answers
        self.client = None
        self.sent = []
        self.ready = asyncio.get_running_loop().create_future()
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(self.live())

    async def live(self):
        try:
            parameters = StdioServerParameters(
                command=self.entry["command"],
                args=self.entry.get("args", []),
                env=self.entry.get("env"),
                cwd=self.entry.get("cwd"),
            )
            async with Client(
                overheard(stdio_client(parameters), self.sent),
                mode=self.era,
                cache=None,
                **self.answers,
            ) as client:
                self.client = client
                info = client.server_info
                self.ready.set_result(
                    {
                        "name": info.name if info else None,
                        "version": info.version if info else None,
                        "protocol": client.protocol_version,
                    }
                )
                await self.stopping.wait()
        except BaseException as error:
            if not self.ready.done():
                self.ready.set_exception(RuntimeError(repr(error)))
            elif not self.stopping.is_set():
                raise

    async def stop(self):
        self.stopping.set()
        await asyncio.wait([self.task])


servers = {}


def brief(result):
    """A result as JSON, with long texts replaced by their length."""
    plain = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    for item in plain.get("content", []):
        text = item.get("text", "")
        item["bytes"] = len(text.encode())
        item["text"] = text[:TEXT_LIMIT]
    return plain


async def start(command):
    with open(command["config"], encoding="utf-8") as file:
        entries = json.load(file)["mcpServers"]
    names = command.get("servers") or list(entries)
    answers = ANSWERS if command.get("answers") else {}
    for name in names:
        servers[name] = Server(entries[name], command.get("era", "auto"), answers)
    return {name: await servers[name].ready for name in names}


async def call(command):
    client = servers[command["server"]].client
    with anyio.CancelScope() as scope:
        if "cancel_after" in command:
            scope.deadline = anyio.current_time() + command["cancel_after"]
        return brief(await client.call_tool(command["tool"], command.get("arguments")))
    return {"cancelled": True}


async def request(command):
    client = servers[command["server"]].client
    params = command.get("params", {})
    match command["method"]:
        case "tools/list":
            return brief(await client.list_tools(**params))
        case "resources/list":
            return brief(await client.list_resources(**params))
        case "resources/read":
            return brief(await client.read_resource(params["uri"]))
        case "prompts/list":
            return brief(await client.list_prompts(**params))
        case "prompts/get":
            return brief(await client.get_prompt(params["name"], params.get("arguments")))
        case "ping":
            return brief(await client.send_ping())
        case other:
            raise ValueError(f"this client has no request {other}")


async def sent(command):
    return servers[command["server"]].sent


async def stop(command):
    for name in command.get("servers") or list(servers):
        await servers.pop(name).stop()
    return {}


OPERATIONS = {"start": start, "call": call, "request": request, "sent": sent, "stop": stop}


async def serve(command, writer):
    try:
        answer = {"ok": True, "result": await OPERATIONS[command["op"]](command)}
    except Exception as error:  # Whatever the SDK raises is the answer.
        answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    answer["n"] = command["n"]
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()


async def main():
    reader, writer = await asyncio.open_unix_connection(sys.argv[1], limit=64 << 20)
    tasks = set()
    while line := await reader.readline():
        task = asyncio.create_task(serve(json.loads(line), writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await stop({})


asyncio.run(main())
