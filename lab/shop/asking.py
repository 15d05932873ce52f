"""Small HTTP questions asked from inside one of the lab's network namespaces.

Called by `deploying` for pages and metrics. In: a namespace and URLs. Out: texts. The load has its own client.
"""

import threading
from collections.abc import Sequence

import httpx
from pyroute2 import netns as namespaces

_PATIENCE_S = 2.0


def fetch(netns: str, urls: Sequence[str]) -> list[str]:
    """The text behind each URL, empty where there was no good answer; asked one after the other from `netns`."""
    texts = [""] * len(urls)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            namespaces.setns(netns)  # of this thread only, which ends with the questions
            with httpx.Client(timeout=_PATIENCE_S, trust_env=False) as client:
                for place, url in enumerate(urls):
                    texts[place] = _one(client, url)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=ask, name="shop-asking")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return texts


def _one(client: httpx.Client, url: str) -> str:
    try:
        answer = client.get(url)
    except httpx.HTTPError:
        return ""
    return answer.text if answer.status_code == 200 else ""
