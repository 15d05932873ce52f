"""A mirror of packages outside the cluster: mirror.py ADDRESS PORT PACKAGES KIB SEED. Contents come from the seed.

Run by the scenario in the outside namespace. Serves /Packages (hash and name a line) and /pool/NAME.
"""

import hashlib
import http.server
import random
import sys


def packages(count: int, kib: int, seed: int) -> dict[str, bytes]:
    """Names and contents; sizes between half and one and a half of `kib`, with the sum that was asked for."""
    draw = random.Random(seed)
    sizes = [kib * 512 + int(kib * 1024 * draw.random()) for _ in range(count)]
    sizes[-1] += max(0, count * kib * 1024 - sum(sizes))
    return {f"lib{number:02d}_1.{number}_amd64.deb": draw.randbytes(size) for number, size in enumerate(sizes)}


class Mirror(http.server.BaseHTTPRequestHandler):
    """GET only."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        """One file."""
        body = self.files.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    """Serve for ever."""
    made = packages(int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    index = "".join(f"{hashlib.sha256(body).hexdigest()} {name}\n" for name, body in made.items())
    Mirror.files = {"/Packages": index.encode(), **{f"/pool/{name}": body for name, body in made.items()}}
    server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Mirror)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
