"""An MCP server for what is hard to watch rather than bad: many calls at once, long ones, large ones,
a death in the middle, a flood of opens. Plain JSON-RPC over stdio; each call has a thread of its own.
"""

import json
import os
import sys
import threading
import time

output = threading.Lock()


def sleep(seconds):
    time.sleep(seconds)
    return f"slept {seconds} s"


def touch(path, seconds):
    """Opens its own file at the start and at the end of a call that others overlap."""
    for pause in (seconds, 0):
        with open(path, encoding="utf-8"):
            time.sleep(pause)
    return path


def flood(path, times):
    for _ in range(times):
        os.close(os.open(path, os.O_RDONLY))
    return f"opened {times} times"


def die():
    os._exit(7)


TOOLS = {
    "echo": lambda a: a["text"],
    "blob": lambda a: "x" * a["bytes"],
    "sleep": lambda a: sleep(a["seconds"]),
    "touch": lambda a: touch(a["path"], a["seconds"]),
    "flood": lambda a: flood(a["path"], a["times"]),
    "die": lambda a: die(),
}


def call_tool(request):
    params = request["params"]
    try:
        text, failed = TOOLS[params["name"]](params.get("arguments") or {}), False
    except Exception as error:  # A tool that fails says so in its result.
        text, failed = f"{type(error).__name__}: {error}", True
    return {
        "content": [{"type": "text", "text": text}],
        "isError": failed,
        # The id goes back to the client, which the SDKs do not tell it: the tests compare it.
        "_meta": {"tests/id": request["id"]},
    }


def list_tools(request):
    return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}


def initialize(request):
    return {
        "protocolVersion": request["params"]["protocolVersion"],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "loads", "version": "0.9.0"},
    }


METHODS = {"initialize": initialize, "tools/list": list_tools, "tools/call": call_tool, "ping": lambda request: {}}


def answer(request):
    response = {"jsonrpc": "2.0", "id": request["id"]}
    if method := METHODS.get(request["method"]):
        response["result"] = method(request)
    else:
        response["error"] = {"code": -32601, "message": f"no method {request['method']}"}
    with output:
        print(json.dumps(response), flush=True)


for line in sys.stdin:
    request = json.loads(line)
    if "id" in request and "method" in request:
        threading.Thread(target=answer, args=(request,), daemon=True).start()
