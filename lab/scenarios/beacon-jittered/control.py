"""A control server: answers each small HTTP request with a page, now and then with an order. control.py ADDRESS PORT.

Started in the outside namespace by `scenario.yaml`; ends with the scenario.
"""

import http.server
import itertools
import sys

NUMBERS = itertools.count(1)


class Control(http.server.BaseHTTPRequestHandler):
    """Hands out orders."""

    def do_GET(self) -> None:
        """Nothing to do, but for every tenth call."""
        order = b"id; uname -a" if next(NUMBERS) % 10 == 0 else b"wait"
        self.send_response(200)
        self.send_header("Content-Length", str(len(order)))
        self.end_headers()
        self.wfile.write(order)

    def log_message(self, *_: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    with http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Control) as server:
        print("listening", flush=True)
        server.serve_forever()
