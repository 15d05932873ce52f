"""The probe `http`: one GET to a Service or a pod of the cluster, within its time, not followed anywhere.

Called by `probing`. In: the probe as the resource has it, the API. Out: whether the wanted status came in time, and
what was seen. Where it goes is asked of the API and not of a name server, so that no name leads out of the cluster: a
Service by `NAME.NAMESPACE.svc`, a pod by `10-0-0-1.NAMESPACE.pod`. Certificates are not checked, as by a kubelet.
"""

import ipaddress
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx

from loomidi.ionic.act.kube.api import KubeApi

WITHIN_MS, STATUS = 1000, 200
_DOMAIN = ".cluster.local"


def call(asked: Mapping[str, Any], api: KubeApi) -> tuple[bool, str]:
    """Ask it."""
    url = httpx.URL(asked["url"])
    address, why = _address(url.host, api)
    if not address:
        return False, f"not asked: {why}"
    wanted, within_s = asked.get("status", STATUS), asked.get("withinMilliseconds", WITHIN_MS) / 1000
    began_s = time.monotonic()
    found = _asked(url, address, within_s)
    took_ms = (time.monotonic() - began_s) * 1000
    if not isinstance(found, int):
        return False, found
    return found == wanted, f"{url} answered {found} after {took_ms:.0f} ms, {wanted} asked for"


def _address(host: str, api: KubeApi) -> tuple[str, str]:
    """Where the name leads to, or why nowhere."""
    name, *rest = host.removesuffix(".").removesuffix(_DOMAIN).split(".")
    if len(rest) != 2 or rest[1] not in ("svc", "pod"):
        return "", f"{host} is neither NAME.NAMESPACE.svc nor 10-0-0-1.NAMESPACE.pod"
    if rest[1] == "svc":
        found = (api.get(f"/api/v1/namespaces/{rest[0]}/services/{name}") or {"spec": {}})["spec"].get("clusterIP", "")
        return (found, "") if _is_address(found) else ("", f"{host} is no Service with an address of its own")
    wanted = name.replace("-", ".") if name.count("-") == 3 else name.replace("-", ":")
    pods = api.items(f"/api/v1/namespaces/{rest[0]}/pods")
    there = any(wanted == one.get("status", {}).get("podIP") for one in pods)
    return (wanted, "") if there and _is_address(wanted) else ("", f"{host} is no pod of the cluster")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _asked(url: httpx.URL, address: str, within_s: float) -> int | str:
    """The status, or why there is none. On a thread of its own: who answers drop by drop is left behind in time."""
    answer: queue.Queue[int | str] = queue.Queue(1)
    client = httpx.Client(verify=False, trust_env=False, follow_redirects=False, timeout=within_s)  # noqa: S501
    threading.Thread(target=_get, args=(client, url, address, answer), daemon=True).start()
    try:
        return answer.get(timeout=within_s)
    except queue.Empty:
        return f"{url} did not answer within {within_s * 1000:.0f} ms"
    finally:
        client.close()


def _get(client: httpx.Client, url: httpx.URL, address: str, answer: "queue.Queue[int | str]") -> None:
    """The body is never read."""
    host = url.netloc.decode()
    try:
        with client.stream("GET", url.copy_with(host=address), headers={"Host": host}) as response:
            answer.put(response.status_code)
    except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:  # also when the client was closed under us
        answer.put(f"{url} did not answer: {type(error).__name__}")
