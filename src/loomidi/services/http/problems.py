"""Problems as RFC 9457 has them: status, title, a detail that says what to do, a reason that programs can read.

Called by every handler (which raises one) and by `routing` (which answers with it). In: a reason of the table below.
Out: an `Answer` of the type application/problem+json. The reason is also the label under which it is counted.
"""

import dataclasses
import http
import json
from collections.abc import Mapping
from typing import Any

from loomidi.contracts.errors import LoomidiError

PROBLEM_JSON = "application/problem+json"

STATUSES: Mapping[str, int] = {
    "malformed": 400,  # the request cannot be read at all: JSON, parameter, header
    "token": 401,  # missing or wrong
    "forbidden": 403,  # known, or local, and still not for you
    "not-found": 404,
    "method": 405,
    "too-slow": 408,  # the body came at less than the minimum rate
    "too-large": 413,  # the body, or what it unpacks to
    "media-type": 415,  # of the body, or its encoding
    "refused-rows": 422,  # some rows cannot be used, and the sender did not ask to go on without them
    "unusable": 422,  # the body is readable, but not what this route takes
    "key-reused": 422,  # the Idempotency-Key belongs to another body
    "memory": 429,  # bodies in progress fill what is set aside for them
    "internal": 500,  # a bug
    "away": 503,  # the bus does not acknowledge
}
"""Every reason that services share, and its status."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = ""  # of a problem; empty for success


class Problem(LoomidiError):
    """The request is not served. `detail` says what to do next."""

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        **members: Any,
    ) -> None:
        """`members` are further fields of the document, such as counts; `status` is that of a service's own reason."""
        super().__init__(detail)
        self.reason, self.detail = reason, detail
        self.status = STATUSES[reason] if status is None else status
        self.headers, self.members = dict(headers or {}), members

    def answer(self) -> Answer:
        """As it goes out."""
        document = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            **self.members,
        }
        body = json.dumps(document).encode()
        return Answer(self.status, body, PROBLEM_JSON, tuple(self.headers.items()), self.reason)


def try_later(reason: str, detail: str, after_s: int, **members: Any) -> Problem:
    """A problem that passes, with Retry-After."""
    return Problem(reason, detail, headers={"Retry-After": str(after_s)}, **members)
