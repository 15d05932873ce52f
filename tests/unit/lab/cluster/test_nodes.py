"""A kubelet is started when containerd takes calls, not when a socket lies there."""

import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster import nodes


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(nodes, "folder", lambda _site, _number: tmp_path)
    return SimpleNamespace(launcher=SimpleNamespace(last_words=lambda label: f"{label} was killed"))


def stale(path: Path) -> None:
    """A socket whose server was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))


def test_a_socket_that_a_killed_one_left_is_not_taken_for_a_living_one(site: Any, tmp_path: Path) -> None:
    stale(tmp_path / "containerd.sock")
    with pytest.raises(EnvironmentLacks, match=r"takes no calls after 0\.1 s: n2-containerd was killed"):
        nodes.await_containerd(site, 2, 0.1)


def test_it_is_waited_for(site: Any, tmp_path: Path) -> None:
    path = tmp_path / "containerd.sock"
    stale(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:

        def listen() -> None:
            path.unlink()
            server.bind(str(path))
            server.listen()

        timer = threading.Timer(0.2, listen)
        timer.start()
        nodes.await_containerd(site, 2)
        timer.join()
