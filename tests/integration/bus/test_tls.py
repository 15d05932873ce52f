"""A NATS server that asks for a certificate and a password lets in who has both, and nobody else."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from loomidi.contracts.errors import EnvironmentLacks, InputError, Retryable
from loomidi.contracts.streams import Envelope
from loomidi.loom.bus import BusSettings, open_bus
from tests.integration.bus.brokers import NatsBroker

# nats-py drops the socket of an attempt that is given up while it opens: it is closed when it is collected, maybe amid
# the next test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SECURE = """
authorization {{ user: loom, password: secret }}
tls {{ cert_file: "{0}/server.pem", key_file: "{0}/server.key", ca_file: "{0}/ca.pem", verify: true }}
"""


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificate(folder: Path, name: str) -> None:
    """Signed by the authority of the folder, for 127.0.0.1."""
    (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
    openssl(folder, "req", *key, "-subj", f"/CN={name}", "-out", f"{name}.csr")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", f"{name}.ext")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key")
    openssl(folder, "req", "-x509", *key, "-subj", "/CN=test", "-days", "2", "-out", "ca.pem")
    certificate(folder, "server")
    certificate(folder, "client")
    (folder / "login").write_text("loom:secret\n")
    (folder / "wrong").write_text("loom:guess\n")
    (folder / "empty").write_text("\n")
    return folder


@pytest.fixture(scope="module")
def broker(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsBroker]:
    started = NatsBroker(tmp_path_factory.mktemp("nats"), more=SECURE.format(place))
    started.start()
    yield started
    started.stop()


def run(claim: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await claim()

    asyncio.run(in_time())


def settings(broker: NatsBroker, place: Path, **changes: str) -> BusSettings:
    told = {"credentials": "login", "tls_ca": "ca.pem", "tls_cert": "client.pem", "tls_key": "client.key", **changes}
    files = {name: str(place / file) if file else "" for name, file in told.items()}
    return BusSettings(url=f"tls://127.0.0.1:{broker.port}", patience_s=2.0, **files)  # type: ignore[arg-type]


def test_certificate_and_password_open_the_door(broker: NatsBroker, place: Path) -> None:
    async def claim() -> None:
        async with await open_bus(settings(broker, place)) as bus:
            acks = await bus.publish([Envelope("flows", "n1", 1, 0, 1, b"x")])
            assert acks[0].id == "n1/1/0"

    run(claim)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"credentials": "wrong"}, EnvironmentLacks, "check the credentials"),
        ({"credentials": "empty"}, InputError, "neither NATS credentials nor USER:PASSWORD"),
        ({"credentials": "absent"}, InputError, "No such file"),
        ({"tls_ca": ""}, Retryable, "certificate verify failed"),
        ({"tls_ca": "login"}, InputError, "cannot be read"),
        ({"tls_cert": "", "tls_key": ""}, Retryable, "does not answer"),
    ],
)
def test_who_lacks_one_of_them_is_told_in_one_line(
    broker: NatsBroker, place: Path, changes: dict[str, str], error: type[Exception], words: str
) -> None:
    async def claim() -> None:
        with pytest.raises(error, match=words) as told:
            await open_bus(settings(broker, place, **changes))
        assert "\n" not in str(told.value)

    run(claim)
