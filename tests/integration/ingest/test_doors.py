"""Beyond loopback: TLS and a token or a certificate, or no service at all. And one line for what cannot start."""

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.integration.bus.brokers import NatsBroker
from tests.integration.ingest.running import ROW, Service

pytestmark = pytest.mark.required
TOKEN = "a-token-of-enough-letters"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca`, and signed by it `server` and `client`, each as .crt and .key."""
    folder = tmp_path_factory.mktemp("certificates")
    openssl(folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca", "ca")
    for name in ("server", "client"):
        more = f"-addext subjectAltName=IP:127.0.0.1 -CA ca.crt -CAkey ca.key -subj /CN={name}"
        openssl(folder, f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 {more}", name)
    (folder / "tokens").write_text(f"{TOKEN}\n")
    return folder


def openssl(folder: Path, command: str, name: str) -> None:
    given = [*command.split(), "-addext", "basicConstraints=critical,CA:" + ("TRUE" if name == "ca" else "FALSE")]
    outputs = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    subprocess.run(["openssl", *given, *outputs], cwd=folder, check=True, capture_output=True)


def secure(broker: NatsBroker, folder: Path, certificates: Path, *options: str) -> Service:
    tls = ("--tls-cert", str(certificates / "server.crt"), "--tls-key", str(certificates / "server.key"))
    return Service(folder, broker.url, options=("--host", "0.0.0.0", *tls, *options), scheme="https")


def trusting(certificates: Path, *, client: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    if client:
        context.load_cert_chain(certificates / "client.crt", certificates / "client.key")
    return context


def test_an_open_door_is_refused_in_one_line(broker: NatsBroker, tmp_path: Path) -> None:
    command = Service(tmp_path, broker.url, options=("--host", "0.0.0.0")).command()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "can be reached from other machines" in done.stderr


def test_a_token_over_tls_lets_in_and_nothing_else_does(broker: NatsBroker, tmp_path: Path, certificates: Path) -> None:
    service = secure(broker, tmp_path, certificates, "--token-file", str(certificates / "tokens"))
    try:
        service.start()
        with service.client(verify=trusting(certificates)) as client:
            known, other = ({"Authorization": f"Bearer {token}"} for token in (TOKEN, TOKEN[:-1] + "S"))
            answers = [client.post("/data/system-metrics", json=ROW, headers=one) for one in (known, other, {})]
        assert [answer.status_code for answer in answers] == [202, 401, 401]
        with pytest.raises(httpx.TransportError):
            httpx.post(service.url.replace("https", "http") + "/data/system-metrics", json=ROW, trust_env=False)
    finally:
        service.close()


def test_a_certificate_of_the_authority_lets_in_and_none_does_not(
    broker: NatsBroker, tmp_path: Path, certificates: Path
) -> None:
    service = secure(broker, tmp_path, certificates, "--client-ca", str(certificates / "ca.crt"))
    try:
        service.start()
        with service.client(verify=trusting(certificates, client=True)) as client:
            assert client.post("/data/system-metrics", json=ROW).status_code == 202
        with service.client(verify=trusting(certificates)) as client, pytest.raises(httpx.TransportError):
            client.post("/data/system-metrics", json=ROW)
    finally:
        service.close()


def test_a_port_that_is_in_use_is_told_in_one_line(service: Service, tmp_path: Path) -> None:
    second = Service(tmp_path, service.bus, port=service.port)
    done = subprocess.run(second.command(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert f"127.0.0.1:{service.port} is in use" in done.stderr.splitlines()[-1]


def test_a_bus_that_is_not_there_is_told(tmp_path: Path) -> None:
    command = Service(tmp_path, "nats://127.0.0.1:9", config="[bus]\npatience_s = 0.5\n").command()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "127.0.0.1:9" in done.stderr
