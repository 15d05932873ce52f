"""Each server image serves in a real pod as it says, and the red team's tools reach it from another one."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from loomidi_lab.cluster import Lab

PASSWORD = "s3 cret:x"
PODS: dict[str, dict[str, str]] = {
    "attacker": {},
    "nginx": {"NGINX_PORT": "8081"},
    "redis": {"REDIS_PASSWORD": PASSWORD},
    "postgres": {"POSTGRES_USER": "orders", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "shop"},
    "sshd": {"SSH_USERS": "alice:a:b,root:toor"},
}
USERS = {"attacker": "0", "nginx": "33", "redis": "6379", "postgres": "5432", "sshd": "0"}


def pod(name: str, variables: Mapping[str, str], namespace: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": f"lab.loomidi.io/{name}:1",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in variables.items()],
    }
    metadata = {"name": name, "namespace": namespace}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


class Servers:
    """The pods of these tests, by name."""

    def __init__(self, lab: Lab, namespace: str) -> None:
        self.lab = lab
        self.namespace = namespace
        lab.apply([pod(name, variables, namespace) for name, variables in PODS.items()])
        self.addresses = {name: self._address(name) for name in PODS}

    def _address(self, name: str) -> str:
        until = time.monotonic() + 60
        while True:
            found = self.lab.api.get(f"/api/v1/namespaces/{self.namespace}/pods/{name}")
            if found["status"]["phase"] == "Running":
                return str(found["status"]["podIP"])
            assert time.monotonic() < until, found["status"]
            time.sleep(0.2)

    def attack(self, script: str, *words: str, until: str = "") -> str:
        """A shell line in the attacker's pod, again until its output holds a text: a server may still be starting."""
        deadline = time.monotonic() + 30
        while True:
            done = self.lab.exec(
                self.namespace, "attacker", "sh", "-c", f"{{ {script}; }} 2>&1", "sh", *words, check=False
            )
            if until in done.stdout or time.monotonic() > deadline:
                return str(done.stdout)
            time.sleep(0.3)


@pytest.fixture(scope="module")
def servers(cluster: Lab) -> Iterator[Servers]:
    """One pod of each image in one namespace."""
    name = "test-images"
    cluster.api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    until = time.monotonic() + 30
    while not cluster.api.exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"):
        assert time.monotonic() < until, "no default service account after 30 s"
        time.sleep(0.1)
    yield Servers(cluster, name)
    cluster.api.delete(f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize(("name", "user"), USERS.items())
def test_it_runs_as_the_user_it_says(servers: Servers, name: str, user: str) -> None:
    assert servers.lab.exec(servers.namespace, name, "id", "-u").stdout.strip() == user


def test_nginx_serves_on_the_port_of_its_environment_and_counts(servers: Servers) -> None:
    seen = servers.attack('curl -s "$1:8081" "$1:8081/status"', servers.addresses["nginx"], until="requests")
    assert "nginx of the lab on nginx" in seen
    assert "Active connections: 1" in seen


def test_redis_asks_for_its_password(servers: Servers) -> None:
    address = servers.addresses["redis"]
    assert "PONG" in servers.attack('redis-cli -h "$1" -a "$2" --no-auth-warning ping', address, PASSWORD, until="PONG")
    assert "NOAUTH" in servers.attack('redis-cli -h "$1" ping', address)


def test_postgres_has_its_user_and_database_and_refuses_a_wrong_password(servers: Servers) -> None:
    ask = 'PGPASSWORD="$2" psql -h "$1" -U orders -At shop -c "select current_user, current_database()"'
    address = servers.addresses["postgres"]
    assert servers.attack(ask, address, PASSWORD, until="orders|shop") == "orders|shop\n"
    assert "password authentication failed" in servers.attack(ask, address, "wrong")


def test_sshd_lets_its_users_in_and_nobody_else(servers: Servers) -> None:
    login = 'sshpass -p "$2" ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null alice@"$1" id -un'
    address = servers.addresses["sshd"]
    assert "alice" in servers.attack(login, address, "a:b", until="alice\n")
    assert "Permission denied" in servers.attack(login, address, "wrong")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("ssh://{sshd}", "root toor"),
        ("postgres://{postgres}/shop", f"orders {PASSWORD}"),
        ("redis://{redis}", PASSWORD),
    ],
    ids=["ssh", "postgres", "redis"],
)
def test_brute_force_finds_a_password(servers: Servers, url: str, line: str) -> None:
    user = line.split()[0] if "redis" not in url else ""
    password = line.removeprefix(f"{user} ") if user else line
    words = f'printf "%s\\n" bad1 bad2 "$2" >/tmp/words; hydra {f"-l {user}" if user else ""} -P /tmp/words -t 2 "$1"'
    found = "1 valid password found"  # hydra gives up on a server that is slow to answer
    seen = servers.attack(words, url.format(**servers.addresses), password, until=found)
    assert f"password: {password}" in seen
    assert found in seen


def test_scans_and_floods_can_be_made_from_a_pod(servers: Servers) -> None:
    address = servers.addresses["nginx"]
    assert "8081/tcp open" in servers.attack('nmap -Pn -sS -p 80,8081 "$1"', address, until="8081/tcp open")
    assert "flags=SA" in servers.attack('hping3 -S -p 8081 -c 2 "$1"', address)
    assert "0% packet loss" in servers.attack('ping -c 1 "$1"', address)


def test_pods_find_each_other_by_name(servers: Servers) -> None:
    assert servers.attack("dig +short kubernetes.default.svc.cluster.local", until=".").count(".") >= 3
