"""What would have been cut of late, in sentences: figures, peers, ways of users, or why it is not known."""

import pytest

from loomidi.contracts import Replay
from loomidi.insight.explain import replay_told

MEASURED = Replay(state="measured", since_ns=10**18, until_ns=10**18 + 3600 * 10**9, rows=900)


def cutting(**more: object) -> Replay:
    given = {"peers": 14, "flows": 31, "octets": 3100, "share_of_octets": 0.031, "named": ("pod/shop/cart-0",)}
    return Replay(**{"state": "measured", "since_ns": 1, "until_ns": 2, "rows": 900} | given | more)  # type: ignore[arg-type]


def test_peers_share_and_ways_of_users_are_told() -> None:
    told = replay_told(cutting(paths=("users -> deployment/shop/web",), unlisted_paths=2))
    assert "it would have cut 14 peers (31 flows" in told
    assert "3.1% of octets" in told
    assert "and 13 that are not listed" in told
    assert "Ways of users that it would have cut: users -> deployment/shop/web, and 2 more." in told


@pytest.mark.parametrize(
    ("replay", "part"),
    [
        (Replay(), ""),
        (Replay(state="unknown", why="the lake is away"), "of late is not known: the lake is away."),
        (MEASURED, "it would have cut none."),
        (cutting(protected=("host/10.0.0.1",)), "It would have met the protected set: "),
    ],
)
def test_what_was_not_cut_or_not_known_is_told_as_such(replay: Replay, part: str) -> None:
    told = replay_told(replay)
    assert part in told
    assert part or not told
