"""A shelf whose API is in trouble: what a watch was refused for is told."""

import threading

import httpx
import pytest

from loomidi.contracts import Retryable
from loomidi.loom.sources.shelves import Shelf

LIST = {"kind": "List", "metadata": {"resourceVersion": "5"}, "items": []}


def test_a_watch_that_the_api_refuses_says_with_what() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        watch = "watch" in request.url.params
        return httpx.Response(429, json={"kind": "Status", "code": 429}) if watch else httpx.Response(200, json=LIST)

    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://api") as client:
        shelf = Shelf(client, "/things", lambda _: None, 1)
        with pytest.raises(Retryable, match="watch of /things: 429"):
            shelf._follow(shelf.fill(), threading.Event())
