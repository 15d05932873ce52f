"""A collector: takes uploads and keeps nothing of them but their size. collector.py ADDRESS PORT.

Started in the outside namespace by both exfiltrations; ends with the scenario.
"""

import http.server
import sys


class Collector(http.server.BaseHTTPRequestHandler):
    """Swallows bodies."""

    def do_POST(self) -> None:
        """Read what the header announces."""
        left = int(self.headers.get("Content-Length", "0"))
        while left > 0 and (part := self.rfile.read(min(left, 65536))):
            left -= len(part)
        self.send_response(204)
        self.end_headers()

    do_PUT = do_POST  # noqa: N815 - as http.server wants it

    def log_message(self, *_: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    with http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Collector) as server:
        print("listening", flush=True)
        server.serve_forever()
