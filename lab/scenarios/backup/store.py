"""A store for backups outside the cluster: takes what is PUT, keeps its length and hash only, lists both.

Run by the scenario in the outside namespace: store.py ADDRESS PORT.
"""

import hashlib
import http.server
import sys
from collections.abc import Iterator

KEPT: dict[str, str] = {}
CHUNK = 1 << 16


class Store(http.server.BaseHTTPRequestHandler):
    """PUT /name and GET /."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        """Take one file."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        length, digest = 0, hashlib.sha256()
        for part in self._parts():
            length += len(part)
            digest.update(part)
        KEPT[self.path.strip("/")] = f"{length} {digest.hexdigest()}"
        print("kept", self.path, length, flush=True)
        self._say(201, "kept\n")

    def do_GET(self) -> None:
        """What is there."""
        self._say(200, "".join(f"{name} {about}\n" for name, about in KEPT.items()))

    def _parts(self) -> Iterator[bytes]:
        """The body, by its length or in chunks."""
        if "Content-Length" in self.headers:
            left = int(self.headers["Content-Length"])
            while left and (part := self.rfile.read(min(CHUNK, left))):
                left -= len(part)
                yield part
            return
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _say(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing beside what was kept."""


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Store)
    print("listening", flush=True)
    server.serve_forever()
