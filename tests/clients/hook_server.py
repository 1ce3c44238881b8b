"""An HTTP server for web hooks: what it is sent becomes lines of a file, on disk before it answers.

Run as `hook_server.py PORT FILE`; it prints the port that it listens on. With `CERT KEY CA` behind, it speaks TLS and
lets in whom that authority has signed.
"""

import json
import os
import re
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        shown = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
        }
        if len(sys.argv) > 3:
            subject = self.connection.getpeercert()["subject"]
            shown["peer"] = dict(pair for pairs in subject for pair in pairs)["commonName"]
        with open(sys.argv[2], "a") as file:
            file.write(json.dumps(shown) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # The test says in the body what it wants for an answer, `answer-404`, or none.
        wanted = re.search(r"answer-(\d+)", shown["body"])
        status = int(wanted.group(1)) if wanted else 200
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_PUT = do_POST

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    if len(sys.argv) > 3:
        cert, key, ca = sys.argv[3:]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(cert, key)
        # The handshake is the request's thread's, else one client that is refused would end the server.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_address[1], flush=True)
    server.serve_forever()
