"""A hub on loopback: folders as repositories, asked by the real client over HTTP.

Addresses, headers and error codes are those that `huggingface_hub` 2.4 reads.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves `repositories`.

    Attributes:
        repositories: folders by id; None is a gated one.
        status, message: with which all is answered, if there is a status.
        lost: a file that the hub cannot answer for, if any.
        fetched: bytes of each file that were sent.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Path | None] = {}
        self.status, self.message, self.lost = 0, "", ""
        self.fetched: dict[str, int] = {}
        self.closed = False
        self._server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Nothing answers any more, open connections neither."""
        self.closed = True
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        about = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if about else parts[:2])
        hub: FakeHub = self.server.hub
        if hub.closed:
            self.close_connection = True
        elif hub.status:
            self._refuse(hub.status, "")
        elif name not in hub.repositories:
            self._refuse(401, "RepoNotFound")
        elif (folder := hub.repositories[name]) is None:
            self._refuse(403, "GatedRepo")
        elif about:
            self._about(name, folder, tree="tree" in parts)
        else:
            self._file(folder, parts[3], "/".join(parts[4:]))

    def _about(self, name: str, folder: Path, *, tree: bool) -> None:
        files = {
            file.relative_to(folder).as_posix(): file.stat().st_size
            for file in folder.rglob("*")
            if file.is_file()
        }
        about: Any = {
            "id": name,
            "sha": COMMIT,
            "siblings": [{"rfilename": path, "size": size} for path, size in files.items()],
        }
        if tree:
            about = [
                {"type": "file", "path": path, "size": size, "oid": "0"}
                for path, size in files.items()
            ]
        self._answer(json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _file(self, folder: Path, revision: str, path: str) -> None:
        if revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif path == self.server.hub.lost:
            self._refuse(403, "")
        elif not (folder / path).is_file():
            self._refuse(404, "EntryNotFound")
        else:
            etag = f'"{path}"'.replace("/", "-")
            self._answer((folder / path).read_bytes(), {"ETag": etag}, path)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        headers = {"X-Error-Code": code, "X-Error-Message": self.server.hub.message}
        for header, value in (headers | {"X-Repo-Commit": COMMIT, "Content-Length": "0"}).items():
            self.send_header(header, value)
        self.end_headers()

    def _answer(self, data: bytes, headers: dict[str, str], path: str = "") -> None:
        asked, status = self.headers.get("Range"), 200
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            end = min(int(last or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{end}/{len(data)}"
            data, status = data[int(first) : end + 1], 206
        self.send_response(status)
        headers |= {"X-Repo-Commit": COMMIT, "Content-Length": str(len(data))}
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            fetched = self.server.hub.fetched
            fetched[path] = fetched.get(path, 0) + len(data)
            self.wfile.write(data)
