"""`python -m loomidi_lab.shop.load`: the sending process; started by `driving`, not by people."""

import argparse
import sys
from pathlib import Path

from loomidi_lab.shop.load.profiles import LoadProfile
from loomidi_lab.shop.load.sending import Orders, work


def main() -> int:
    """Read the orders, send."""
    parser = argparse.ArgumentParser(prog="python -m loomidi_lab.shop.load", description="Send an open-loop load.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--profile", required=True, help="JSON")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--start-ns", type=int, default=0)
    parser.add_argument("--sources", default="")
    parser.add_argument("--metrics-port", type=int, default=0)
    given = parser.parse_args()
    profile = LoadProfile.of_json(given.profile)
    where, when = (given.sources, given.metrics_port), (given.seconds, given.start_ns)
    return work(Orders(given.url, profile, given.seed, given.out, *when, *where))


if __name__ == "__main__":
    sys.exit(main())
