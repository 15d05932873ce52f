"""Lakes on real stores: local files, SeaweedFS with its REST catalog, SeaweedFS and MinIO as plain S3."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.loom.lake import Lake, LakeSettings
from tests.integration.lake import servers
from tests.integration.lake.servers import KEY, SECRET

Make = Callable[..., Lake]


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with servers.seaweed(tmp_path_factory.mktemp("seaweed")) as ports:
        yield ports


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with servers.minio(tmp_path_factory.mktemp("minio")) as port:
        yield port


def _s3(port: int) -> dict[str, str]:
    return {"s3_endpoint": f"http://127.0.0.1:{port}", "s3_access_key": KEY, "s3_secret_key": SECRET}


@pytest.fixture(params=["local", "seaweed-rest", "seaweed-s3", "minio-s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Opens the same lake as often as it is called; settings can be changed."""
    name = uuid.uuid4().hex[:12]
    given: dict[str, Any] = {"folder": tmp_path / "lake"}
    if request.param == "seaweed-rest":
        s3, rest = request.getfixturevalue("seaweed")
        credential = f"{KEY}:{SECRET}"
        given |= {
            "catalog": f"http://127.0.0.1:{rest}",
            "warehouse": "s3://tables",
            "credential": credential,
            **_s3(s3),
        }
        given["namespace"] = f"n{name}"
    elif request.param == "seaweed-s3":
        given |= {"warehouse": f"s3://plain/{name}", **_s3(request.getfixturevalue("seaweed")[0])}
    elif request.param == "minio-s3":
        given |= {"warehouse": f"s3://plain/{name}", **_s3(request.getfixturevalue("minio"))}

    def made(**changed: Any) -> Lake:
        specs, clock = changed.pop("specs", None), changed.pop("clock", None)
        return Lake(LakeSettings(**{**given, **changed}), specs=specs, clock=clock)

    return made
