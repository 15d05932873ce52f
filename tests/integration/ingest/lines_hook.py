"""Loaded by Schemathesis (SCHEMATHESIS_HOOKS): how a generated body is written as application/x-ndjson."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Texts as they are: what a line holds is for the service to judge."""
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else repr(value).encode()
