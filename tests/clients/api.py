"""A client of the management API: requests as they are written, answers with what is wrong in the message."""

import base64
import http.client
import json
import threading
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from waiting import DEADLINE_S

BASE = "/api/v3"
NODE = "emqx@127.0.0.1"


def segment(text):
    """`text` as one segment of a path, with everything escaped that can be."""
    return quote(text, safe="")


def basic(app_id, secret):
    return "Basic " + base64.b64encode(f"{app_id}:{secret}".encode()).decode()


@dataclass
class Answer:
    request: str
    status: int
    headers: dict
    body: bytes

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        kind = self.headers.get("content-type", "")
        assert kind.split(";")[0] == "application/json", f"{self}: {kind}"
        return json.loads(self.body)

    def done(self):
        """What a success answers."""
        assert self.status == 200, str(self)
        assert self.json["code"] == 0, str(self)
        return self.json

    def refused(self, code, status=200):
        """The message of a failure, which has a code, a text and nothing else."""
        assert self.status == status, f"{self}, expected {status} with code {code}"
        assert sorted(self.json) == ["code", "message"], str(self)
        assert self.json["code"] == code, f"{self}, expected code {code}"
        assert isinstance(self.json["message"], str) and self.json["message"], str(self)
        return self.json["message"]

    def __str__(self):
        return f"{self.request} -> {self.status} {self.body[:600].decode(errors='replace')}"


class Api:
    """The API of one broker; each thread has a connection of its own, kept alive."""

    def __init__(self, port, app_id="admin", secret="public", source="127.0.0.1"):
        self.port = port
        self.source = source
        self.authorization = basic(app_id, secret)
        self._local = threading.local()

    def request(self, method, path, body=None, base=BASE, headers=None):
        """Sends it; `body` is bytes as they are, or else made JSON. `path` goes out as it is."""
        fields = {"Authorization": self.authorization, **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
        fields = {name: value for name, value in fields.items() if value is not None}
        target = base + path
        for attempt in range(2):
            connection = self._connection()
            try:
                connection.request(method, target, body, fields)
                got = connection.getresponse()
                content = got.read()
                break
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A connection that was kept alive for too long.
                self.close()
                if attempt or connection.fresh:
                    raise
        connection.fresh = False
        kept = {name.lower(): value for name, value in got.getheaders()}
        shown = f"{method} {target}" + (f" {body[:300].decode(errors='replace')}" if body else "")
        return Answer(shown, got.status, kept, content)

    def _connection(self):
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=DEADLINE_S, source_address=(self.source, 0)
            )
            connection.fresh = True
            self._local.connection = connection
        return connection

    def close(self):
        """Closes this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
        self._local.connection = None

    def get(self, path, **query):
        """`data` of a success."""
        return self.request("GET", with_query(path, query)).done()["data"]

    def page(self, path, number=None, limit=None):
        """`data` and `meta` of a page."""
        query = {"_page": number, "_limit": limit}
        got = self.request("GET", with_query(path, query)).done()
        return got["data"], got["meta"]

    def post(self, path, **body):
        return self.request("POST", path, body)

    def put(self, path, **body):
        return self.request("PUT", path, body)

    def delete(self, path, **query):
        return self.request("DELETE", with_query(path, query))

    def one(self, path):
        """The only element of `data`, an array; `None` if it is empty."""
        data = self.get(path)
        assert len(data) <= 1, f"{path}: {data}"
        return data[0] if data else None

    def metrics(self):
        return self.get(f"/nodes/{NODE}/metrics/")

    def stats(self):
        return self.get(f"/nodes/{NODE}/stats/")


def with_query(path, query):
    given = {name: value for name, value in query.items() if value is not None}
    return path + ("?" + urlencode(given) if given else "")
