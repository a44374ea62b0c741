"""A small stand-in for Google Cloud Storage: the JSON API over objects in memory."""

import contextlib
import http.server
import itertools
import json
import re
import threading
import time
import urllib.parse

PAGE = 7  # The most objects per page, so few that listings come in parts.


class Server(http.server.ThreadingHTTPServer):
    """Serves one bucket.

    Attributes:
      objects: {name: (content, generation, time of writing in s)}.
      requests: "METHOD path?query" of each request.
      refuse_with: The HTTP status that answers all requests; None means no refusal.
    """

    daemon_threads = True

    def __init__(self, bucket):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bucket = bucket
        self.objects = {}
        self.uploads = {}
        self.requests = []
        self.refuse_with = None
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)
        self.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self):
        """Variables that point gcsfs, google-cloud-storage, TensorStore and ArrayRecord here."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "anonymous",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # It would ask over gRPC.
        }

    def names(self, prefix=""):
        with self.lock:
            return sorted(name for name in self.objects if name.startswith(prefix))

    def read(self, name):
        with self.lock:
            return self.objects[name][0]

    def write(self, name, data):
        with self.lock:
            self.objects[name] = (bytes(data), next(self.numbers), time.time())
            return self.resource(name)

    def resource(self, name):
        data, generation, written_s = self.objects[name]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(written_s))
        stamp += f".{int(written_s % 1 * 1000):03d}Z"
        return {
            "kind": "storage#object",
            "bucket": self.bucket,
            "name": name,
            "size": str(len(data)),
            "generation": str(generation),
            "metageneration": "1",
            "timeCreated": stamp,
            "updated": stamp,
        }


@contextlib.contextmanager
def serve(bucket):
    """Yields a server that runs in a thread."""
    server = Server(bucket)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Error(Exception):
    pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):  # The client was killed.
            super().handle()

    def _serve(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        body = self._body()
        with self.server.lock:
            self.server.requests.append(f"{self.command} {urllib.parse.unquote(self.path)}")
            try:
                if self.server.refuse_with:
                    raise _Error(self.server.refuse_with)
                self._answer(url.path, query, body)
            except _Error as error:
                (status,) = error.args
                if status == 304:  # Clients would take a body for the next answer.
                    self._send(b"", status)
                else:
                    self._json({"error": {"code": status, "message": "refused"}}, status)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, path, query, body):
        quoted = re.escape(urllib.parse.quote(self.server.bucket))
        found = re.fullmatch(
            rf"(/upload|/download)?/storage/v1/b/{quoted}(?:/o(?:/([^/]+)(?:/(.+))?)?)?/?", path
        )
        if not found:
            raise _Error(404)
        kind, name, action = found.groups()
        name = name and urllib.parse.unquote(name)
        if kind == "/upload":
            self._upload(query, body)
        elif action:
            self._copy(name, action, query)
        elif name is not None:
            self._object(kind, name, query)
        elif path.rstrip("/").endswith("/o"):
            self._list(query)
        else:
            self._json({"kind": "storage#bucket", "name": self.server.bucket})

    def _object(self, kind, name, query):
        self._check(name, query)
        if name not in self.server.objects:
            raise _Error(404)
        if self.command == "DELETE":
            del self.server.objects[name]
            self._send(b"", 204)
        elif query.get("alt") == "media" or kind == "/download":
            self._media(name)
        else:
            self._json(self.server.resource(name))

    def _check(self, name, query):
        generation = self.server.objects[name][1] if name in self.server.objects else 0
        if int(query.get("ifGenerationMatch", generation)) != generation:
            raise _Error(412)
        if int(query.get("ifGenerationNotMatch", -1)) == generation:
            raise _Error(304)

    def _media(self, name):
        data, generation, _ = self.server.objects[name]
        headers = {"x-goog-generation": str(generation), "x-goog-stored-content-length": len(data)}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            self._send(data, 200, headers)
            return
        first, last = asked.groups()
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(len(data), int(last) + 1) if first and last else len(data)
        if start >= max(end, 1):
            raise _Error(416)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._send(data[start:end], 206, headers)

    def _list(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        entries = {}  # Objects and folders, in the order of their names.
        for name in self.server.names(prefix):
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                entries[prefix + rest.partition(delimiter)[0] + delimiter] = None
            else:
                entries[name] = self.server.resource(name)
        after = query.get("pageToken", "")
        left = [name for name in entries if name > after]
        page = left[: min(PAGE, int(query.get("maxResults", PAGE)))]
        answer = {
            "kind": "storage#objects",
            "items": [entries[name] for name in page if entries[name]],
            "prefixes": [name for name in page if not entries[name]],
        }
        if len(page) < len(left):
            answer["nextPageToken"] = page[-1]
        self._json(answer)

    def _upload(self, query, body):
        if "upload_id" in query:
            self._chunk(query["upload_id"], body)
            return
        if query["uploadType"] == "resumable":
            name = query.get("name") or json.loads(body)["name"]
            number = str(next(self.server.numbers))
            self.server.uploads[number] = (name, bytearray())
            where = f"/upload/storage/v1/b/{self.server.bucket}/o?upload_id={number}"
            self._send(b"", 200, {"Location": self.server.url + where})
            return
        name = query.get("name")
        if query["uploadType"] == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1]
            _, about, content, _ = body.split(b"--" + boundary.encode())
            name = json.loads(re.split(rb"\r?\n\r?\n", about, maxsplit=1)[1])["name"]
            body = re.split(rb"\r?\n\r?\n", content, maxsplit=1)[1].removesuffix(b"\n")
            body = body.removesuffix(b"\r")
        self._check(name, query)
        self._json(self.server.write(name, body))

    def _chunk(self, number, body):
        name, data = self.server.uploads[number]
        if self.command == "DELETE":
            del self.server.uploads[number]
            raise _Error(499)
        data += body
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total != str(len(data)):
            self._send(b"", 308, {"Range": f"bytes=0-{len(data) - 1}"})
            return
        self._json(self.server.write(name, data))

    def _copy(self, name, action, query):
        target = urllib.parse.unquote(action.rpartition("/o/")[2])
        if name not in self.server.objects:
            raise _Error(404)
        made = self.server.write(target, self.server.read(name))
        if action.startswith("moveTo"):
            del self.server.objects[name]
            self._json(made)
        else:
            self._json({"kind": "storage#rewriteResponse", "done": True, "resource": made})

    def _json(self, value, status=200):
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def _send(self, data, status, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
