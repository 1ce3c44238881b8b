"""An HTTP server for many requests: each body becomes a line of a file before it is answered, and no more is done.

Run as `hook_lines.py PORT FILE`; it prints the port that it listens on.
"""

import os
import re
import socket
import sys
import threading

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.I)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def serve(connection, file):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while True:
        head = data.find(b"\r\n\r\n")
        end = head + 4 + int(LENGTH.search(data).group(1)) if head >= 0 else None
        if end is None or len(data) < end:
            more = connection.recv(65536)
            if not more:
                return
            data += more
            continue
        os.write(file, data[head + 4 : end] + b"\n")
        data = data[end:]
        connection.sendall(ANSWER)


if __name__ == "__main__":
    file = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, file), daemon=True).start()
