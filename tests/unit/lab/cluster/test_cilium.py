"""What a lab says of Cilium's agents, asked over the socket that each has; no agent runs here."""

import http.server
import json
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import EnvironmentLacks, Retryable
from loomidi_lab.cluster import cilium, nodes
from loomidi_lab.cluster.addressing import Ranges
from loomidi_lab.cluster.control_plane import Site
from loomidi_lab.cluster.places import place

Serve = Callable[[int, object], None]


class _Answering(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        return "a socket"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Two nodes that exist as folders; their path is short, as the kernel wants it for sockets."""
    with tempfile.TemporaryDirectory(prefix="ll") as folder:
        monkeypatch.setenv("LOOMIDI_LAB_CACHE", folder)
        made = Site(place("unit"), Ranges("10.88.0.0/15"), 2, "cilium")
        for number in (1, 2):
            nodes.folder(made, number).mkdir(parents=True)
        yield made


@pytest.fixture
def agent(site: Site) -> Iterator[Serve]:
    """Starts something on a node's socket that answers everything with the same."""
    running: list[socketserver.UnixStreamServer] = []

    def serve(number: int, answer: object) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        handler = type("Agent", (_Answering,), {"body": body})
        running.append(socketserver.UnixStreamServer(str(nodes.folder(site, number) / "cilium.sock"), handler))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


def test_nothing_lacks_when_every_agent_says_that_it_works(site: Site, agent: Serve) -> None:
    for number in (1, 2):
        agent(number, {"cilium": {"state": "Ok", "msg": "1.19.0"}})
    assert cilium.lacking(site) == []


def test_an_agent_that_complains_is_named_with_its_words(site: Site, agent: Serve) -> None:
    agent(1, {"cilium": {"state": "Ok"}})
    agent(2, {"cilium": {"state": "Failure", "msg": "3 unhealthy controllers"}})
    assert cilium.lacking(site) == ["Cilium on n2: 3 unhealthy controllers"]


def test_an_agent_that_does_not_answer_lacks(site: Site, agent: Serve) -> None:
    agent(1, {"cilium": {"state": "Ok"}})
    (text,) = cilium.lacking(site)
    assert text.startswith("Cilium on n2: its agent does not answer")


def test_an_answer_that_is_no_json_may_be_asked_for_again(site: Site, agent: Serve) -> None:
    agent(1, b"not yet")
    with pytest.raises(Retryable, match="does not answer"):
        cilium.ask(site, 1, "/v1/endpoint")


def test_missing_compilers_are_told_as_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool.startswith("ll") else f"/usr/bin/{tool}")
    with pytest.raises(EnvironmentLacks, match=r"install llvm-19$"):
        cilium.check()


def test_no_two_parts_of_a_node_share_a_socket(site: Site) -> None:
    flags = cilium._flags(site, Path("/lab/n1"))
    sockets = [flag.partition("=")[2] for flag in flags if flag.endswith(".sock")]
    assert len(sockets) == len(set(sockets)) == 2
