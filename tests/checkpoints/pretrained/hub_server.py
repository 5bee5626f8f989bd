"""A stand-in for the Hugging Face Hub on 127.0.0.1: as much of it as making, filling and reading a repository takes."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_a_user_who_may_write"


class Hub(ThreadingHTTPServer):
    """Repositories in memory.

    Attributes:
        repos: By name: whether it is private, and the files of each commit by its number.
        requests: (method, path, token) of each.
        answers: What is answered in place of the truth, (status, X-Error-Code), by a beginning of the path.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos, self.requests, self.answers, self.stored = {}, [], {}, {}

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, name):
        """Of the newest commit."""
        return list(self.repos[name]["commits"].values())[-1]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def _handle(self):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(self._chunks())
        self.server.requests.append((self.command, path, token))
        for start, (status, code) in self.server.answers.items():
            if path.startswith(start):
                return self._fail(status, code)
        if self.command in ("POST", "PUT") and token != TOKEN and not path.startswith("/lfs/"):
            return self._fail(401, None)
        for pattern, answer in ROUTES.items():
            method, _, pattern = pattern.partition(" ")
            if self.command in method.split(",") and (found := re.fullmatch(pattern, path)):
                name = found.groupdict().get("name")
                if name is not None and name not in self.server.repos:
                    return self._fail(404, "RepoNotFound")
                if name is not None and self.server.repos[name]["private"] and token != TOKEN:
                    return self._fail(401, "RepoNotFound")
                return answer(self, **found.groupdict())
        return self._fail(404, None)

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()

    def _send(self, content, status=200, **headers):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _fail(self, status, code):
        headers = {"X_Error_Code": code} if code else {}
        self._send({"error": f"status {status}"}, status, X_Error_Message=f"status {status}", **headers)

    # ---- writing

    def _create(self):
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.server.endpoint}/{name}"}
        if name in self.server.repos:
            return self._send(url, 409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))  # the second by older clients
        self.server.repos[name] = {"private": private, "commits": {_number(name, 0): {}}}
        return self._send(url)

    def _validate(self):
        content = json.loads(self.body)["content"]
        if "license: none-such" in content:
            return self._send({"errors": [{"message": '"license" must be one of [...]'}], "warnings": []}, 400)
        return self._send({"errors": [], "warnings": []})

    def _preupload(self, name, revision):
        files = json.loads(self.body)["files"]
        modes = {True: "lfs", False: "regular"}
        self._send(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": modes[file["path"].endswith((".safetensors", ".png"))],
                        "shouldIgnore": False,
                    }
                    for file in files
                ]
            }
        )

    def _batch(self, name):
        objects = json.loads(self.body)["objects"]
        self._send(
            {
                "objects": [
                    {**each, "actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{each['oid']}"}}}
                    for each in objects
                ]
            }
        )

    def _store(self, oid):
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.stored[oid] = self.body
        self._send({})

    def _commit(self, name, revision):
        commits = self.server.repos[name]["commits"]
        files = dict(self.server.files(name))
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
        number = _number(name, len(commits))
        commits[number] = files
        self._send(
            {"success": True, "commitOid": number, "commitUrl": f"{self.server.endpoint}/{name}/commit/{number}"}
        )

    # ---- reading

    def _info(self, name, revision=None):
        commits = self.server.repos[name]["commits"]
        number = list(commits)[-1] if revision in (None, "main") else revision
        if number not in commits:
            return self._fail(404, "RevisionNotFound")
        siblings = [{"rfilename": path} for path in commits[number]]
        return self._send(
            {"id": name, "sha": number, "private": self.server.repos[name]["private"], "siblings": siblings}
        )

    def _tree(self, name, revision):
        commits = self.server.repos[name]["commits"]
        files = self.server.files(name) if revision == "main" else commits[revision]
        self._send(
            [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for path, content in files.items()
            ]
        )

    def _resolve(self, name, revision, path):
        content = self.server.repos[name]["commits"][revision].get(path)
        if content is None:
            return self._fail(404, "EntryNotFound")
        return self._send(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=revision)


_NAME, _REVISION = r"(?P<name>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
ROUTES = {
    "POST /api/repos/create": Handler._create,
    "POST /api/validate-yaml": Handler._validate,
    f"POST /api/models/{_NAME}/preupload/{_REVISION}": Handler._preupload,
    f"POST /{_NAME}.git/info/lfs/objects/batch": Handler._batch,
    "PUT /lfs/(?P<oid>.+)": Handler._store,
    f"POST /api/models/{_NAME}/commit/{_REVISION}": Handler._commit,
    f"GET /api/models/{_NAME}": Handler._info,
    f"GET /api/models/{_NAME}/revision/{_REVISION}": Handler._info,
    f"GET /api/models/{_NAME}/tree/{_REVISION}": Handler._tree,
    f"GET,HEAD /{_NAME}/resolve/{_REVISION}/(?P<path>.+)": Handler._resolve,
}


def _number(name, count):
    return hashlib.sha1(f"{name} {count}".encode()).hexdigest()


@contextmanager
def served() -> Iterator[Hub]:
    """A Hub that answers until the end."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
