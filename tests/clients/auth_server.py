"""A web server that says who may connect and what they may do, as operators write one. Can be killed and slowed."""

import contextlib
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

USERS = {"alice": "secret", "root": "secret", "bob": "a&b=c#d%2"}


class AuthServer:
    """Answers `/auth`, `/superuser` and `/acl`; keeps what it was asked, and its port over a restart."""

    def __init__(self):
        self.asked = []
        self.headers = []
        self.delay_s = 0
        self.open = set()
        self.port = 0
        self.start()

    def start(self, ca=None):
        """With the certificate of `ca` it speaks TLS."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                outer.open.add(self.connection)

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.answer(urlsplit(self.path).query)

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                self.answer(self.rfile.read(length).decode())

            def answer(self, text):
                path = urlsplit(self.path).path
                pairs = parse_qsl(text, keep_blank_values=True)
                outer.asked.append((self.command, path, pairs))
                outer.headers.append(dict(self.headers))
                time.sleep(outer.delay_s)
                status, body = outer.judge(path, dict(pairs))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"http://127.0.0.1:{outer.port}/open")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        if ca:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(ca.crt("server"), ca.key("server"))
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def judge(self, path, asked):
        user = asked.get("username")
        if path == "/open":
            return 200, b""
        if path == "/moved":
            return 302, b""
        if path == "/auth":
            if user == "stranger":
                return 200, b"ignore"
            is_right = user in USERS and asked.get("password") == USERS[user]
            return (200, b"ok") if is_right else (401, b"")
        if path == "/superuser":
            return (200 if user == "root" else 403), b""
        topic = asked["topic"]
        if topic.startswith("other/"):
            return 200, b"ignore"
        if topic.startswith("$delayed/"):
            return 200, b""
        wanted = {"1": "read/", "2": "write/"}[asked["access"]]
        return (200 if topic.startswith(wanted) else 403), b""

    def of(self, path):
        """What was asked there, as dictionaries."""
        return [dict(pairs) for _, at, pairs in self.asked if at == path]

    def kill(self):
        """Closes the port and all connections."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.open.clear()
