"""A real OCI registry (distribution) on a free loopback port, and how images get into it.

The binary is the lab's (`loomidi-lab build --with registry`); without it the tests are skipped, saying so.
"""

import contextlib
import dataclasses
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from loomidi.contracts import EnvironmentLacks
from loomidi_lab.cluster import tools
from tests.rungs import ran
from tests.unit.ionic.image_registries import OCI, SIMPLE, digest_of, octets

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
START_S = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Registry:
    """A running registry."""

    host: str  # with its port
    root: Path  # where it keeps things
    client: httpx.Client

    def image(self, name: str) -> str:
        """A reference into it."""
        return f"{self.host}/{name}"

    def push(self, name: str, content: bytes) -> str:
        """An image of one layer under `repository:tag`. Returns its digest."""
        repository, _, tag = name.rpartition(":")
        layer = self._blob(repository, content) | {"mediaType": LAYER}
        config = octets({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
        return self._manifest(repository, tag, self._blob(repository, config) | {"mediaType": CONFIG}, [layer])

    def attach(self, repository: str, digest: str, signed: bytes, signature: str) -> None:
        """A signature where cosign 2 puts it."""
        noted = {"dev.cosignproject.cosign/signature": signature}
        layer = self._blob(repository, signed) | {"mediaType": SIMPLE, "annotations": noted}
        config = octets({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}})
        tag = f"{digest.replace(':', '-')}.sig"
        self._manifest(repository, tag, self._blob(repository, config) | {"mediaType": CONFIG}, [layer])

    def data(self, digest: str) -> Path:
        """The file that holds a blob or manifest."""
        plain = digest.removeprefix("sha256:")
        return self.root / "docker/registry/v2/blobs/sha256" / plain[:2] / plain / "data"

    def _manifest(self, repository: str, tag: str, config: dict[str, Any], layers: list[dict[str, Any]]) -> str:
        body = octets({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers})
        path = f"/v2/{repository}/manifests/{tag}"
        self.client.put(path, content=body, headers={"Content-Type": OCI}).raise_for_status()
        return digest_of(body)

    def _blob(self, repository: str, body: bytes) -> dict[str, Any]:
        begun = self.client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
        place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest_of(body)})
        headers = {"Content-Type": "application/octet-stream"}
        self.client.put(place, content=body, headers=headers).raise_for_status()
        return {"digest": digest_of(body), "size": len(body)}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Registry]:
    """Up and answering; killed on the way out, its data goes with the folder."""
    try:
        binary = tools.binary("registry")
    except EnvironmentLacks as error:
        pytest.skip(f"no registry here: {error}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
    settings = {"version": 0.1, "storage": storage, "http": {"addr": host}, "log": {"level": "warn"}}
    (folder / "registry.yaml").write_text(yaml.safe_dump(settings))
    environment = os.environ | {"OTEL_TRACES_EXPORTER": "none"}
    with (
        (folder / "registry.log").open("wb") as log,
        httpx.Client(base_url=f"http://{host}", trust_env=False) as client,
    ):
        command = [str(binary), "serve", str(folder / "registry.yaml")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        try:
            _wait(client, process)
            ran("OCI registry (distribution)", tools.MODULES["registry"].version)
            yield Registry(host, folder / "data", client)
        finally:
            process.kill()
            process.wait(10)


def _wait(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if client.get("/v2/").is_success:
                return
        assert process.poll() is None, "the registry ended"
        assert time.monotonic() < until, f"the registry did not answer within {START_S:g} s"
        time.sleep(0.05)
