"""What a real HTTP server answers decides what becomes of a letter."""

from pathlib import Path
from typing import Any

import pytest

from loomidi.loom.sinks import Away, Letter, Undeliverable
from loomidi.loom.sinks.webhook import secret_of, signature
from tests.contracts.receivers import SECRET, Web, standing

LETTER = Letter("event-1", "finding", b'{"id":"event-1"}', 0)


@pytest.mark.parametrize(
    ("status", "fault", "reason"),
    [
        (408, Away, "http_408"), (429, Away, "http_429"), (500, Away, "http_500"), (503, Away, "http_503"),
        (302, Undeliverable, "http_302"), (400, Undeliverable, "http_400"), (401, Undeliverable, "http_401"),
        (410, Undeliverable, "http_410"), (413, Undeliverable, "http_413"),
    ],
)  # fmt: skip
def test_an_answer_is_yes_or_not_now_or_no(tmp_path: Path, status: int, fault: Any, reason: str) -> None:
    with standing(Web(tmp_path)) as web:
        web.statuses.append((status, {"location": "/elsewhere", "retry-after": "7"}))
        sink = web.make()
        with pytest.raises(fault) as told:
            sink.send([LETTER])
        sink.close()
        assert told.value.reason == reason
        assert len(web.requests) == 1
        assert getattr(told.value, "after_s", 7.0) == 7.0


def test_each_try_has_the_same_id_and_a_signature_that_holds(tmp_path: Path) -> None:
    with standing(Web(tmp_path)) as web:
        web.statuses.append((503, {}))
        sink = web.make()
        with pytest.raises(Away):
            sink.send([LETTER])
        sink.send([LETTER])
        sink.close()
        for headers, body in web.requests:
            at_s = int(headers["webhook-timestamp"])
            assert headers["webhook-id"] == LETTER.id
            assert headers["webhook-signature"] == signature(secret_of(SECRET), LETTER.id, at_s, body)
