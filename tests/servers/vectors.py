"""An MCP server that moves the bytes of its channel with other system calls than read and write, the ones its
argument names: several buffers at once, through a socket's own calls, or looking before it takes. Plain JSON-RPC
over stdio.
"""

import json
import os
import socket
import sys

# Small ones first: a message lies in several of them.
SIZES = [1, 7, 64, 4096]


def rows():
    return lambda: scattered(lambda buffers: os.readv(0, buffers)), lambda parts: os.writev(1, parts)


def rows_with_flags():
    # At the place where the stream is, as readv and writev do.
    return (
        lambda: scattered(lambda buffers: os.preadv(0, buffers, -1)),
        lambda parts: os.pwritev(1, parts, -1),
    )


def messages():
    channel, out = socket.socket(fileno=0), socket.socket(fileno=1)

    def receive():
        peek(channel)
        return scattered(lambda buffers: channel.recvmsg_into(buffers)[0])

    return receive, out.sendmsg


def buffers():
    channel, out = socket.socket(fileno=0), socket.socket(fileno=1)

    def receive():
        peek(channel)
        return channel.recv(4096)

    return receive, lambda parts: out.send(b"".join(parts))


def peek(channel):
    """Looks at what comes next, which stays where it is."""
    channel.recv(16, socket.MSG_PEEK)
    channel.recvmsg(16, 0, socket.MSG_PEEK)


def scattered(receive):
    buffers = [bytearray(size) for size in SIZES]
    count = receive(buffers)
    return b"".join(buffers)[:count]


def lines(receive):
    begun = b""
    while chunk := receive():
        *whole, begun = (begun + chunk).split(b"\n")
        yield from whole


def say(send, message):
    left = (json.dumps(message) + "\n").encode()
    while left:
        # One of them has nothing in it.
        left = left[send([left[:1], left[1:10], b"", left[10:]]) :]


def call_tool(request):
    arguments = request["params"]["arguments"]
    return {
        "content": [{"type": "text", "text": arguments["text"] * arguments.get("times", 1)}],
        "isError": arguments.get("fails", False),
        "_meta": {"tests/id": request["id"]},
    }


def list_tools(request):
    return {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]}


def initialize(request):
    return {
        "protocolVersion": request["params"]["protocolVersion"],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "vectors", "version": "0.1.2"},
    }


METHODS = {"initialize": initialize, "tools/list": list_tools, "tools/call": call_tool, "ping": lambda request: {}}
WAYS = {"rows": rows, "rows_with_flags": rows_with_flags, "messages": messages, "buffers": buffers}

receive, send = WAYS[sys.argv[1]]()
for line in lines(receive):
    request = json.loads(line)
    if "id" not in request or "method" not in request:
        continue
    response = {"jsonrpc": "2.0", "id": request["id"]}
    if method := METHODS.get(request["method"]):
        response["result"] = method(request)
    else:
        response["error"] = {"code": -32601, "message": f"no method {request['method']}"}
    say(send, response)
