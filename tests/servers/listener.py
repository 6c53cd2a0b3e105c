"""Not an MCP server: it listens on the port of its first argument, and opens the file of its second for each
visitor. With a third it opens that again and again until it is there, and listens then.
"""

import socket
import sys
import time

port, file, *rest = sys.argv[1:]
waiting = bool(rest)
while waiting:
    try:
        open(rest[0]).close()
        waiting = False
    except FileNotFoundError:
        time.sleep(0.02)
listener = socket.create_server(("127.0.0.1", int(port)))
while True:
    visitor, _ = listener.accept()
    open(file).close()
    visitor.sendall(b"seen\n")
    visitor.close()
