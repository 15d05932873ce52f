"""What a developer does with kubectl: port-forward with some requests, exec with some questions.

Called by the python step of scenario.yaml.
"""

import http.client
import re
import time
from typing import Any

from loomidi.contracts.errors import Retryable
from loomidi_lab.cluster import tools
from loomidi_lab.staging.journals import process_id
from loomidi_lab.staging.records import EntityRef

_QUESTIONS = (
    "cat /proc/1/cmdline | tr '\\0' ' '; echo",
    "cat /proc/net/tcp | wc -l",
    "ls -l /app | head -5",
    "cat /proc/1/status | grep -E 'Threads|VmRSS'",
    "cat /etc/resolv.conf",
)
_PORT = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


def debug(stage: Any, deployment: str, requests: int, seconds: float) -> None:
    """Forward a port and use it, ask in a shell, for about that long."""
    until = time.monotonic() + float(seconds)
    pod = stage.lookup.a_pod(EntityRef("Deployment", "shop", deployment))
    label = f"forward-{stage.runner}-{stage.number}"
    words = [str(tools.binary("kubectl")), f"--kubeconfig={stage.lab.kubeconfig}", "--namespace=shop"]
    process = stage.lab.start(label, [*words, "port-forward", f"pod/{pod}", ":8080"])
    stage.remember(do="kill", process=process_id(process.pid))
    log = stage.lab.folder / "logs" / f"{label}.log"
    stage.until(lambda: bool(_PORT.search(log.read_text())), 20.0, "the forwarded port")
    found = _PORT.search(log.read_text())
    if found is None:
        raise Retryable("kubectl forwarded no port")
    good = sum(_asked(int(found[1]), path) for path in ("/metrics", "/healthz") * (requests // 2 + 1))
    stage.heard(f"answers through the forwarded port: {good}")
    pause_s = max(0.0, until - time.monotonic()) / len(_QUESTIONS)
    for question in _QUESTIONS:
        stage.heard(stage.lab.exec("shop", pod, "sh", "-c", question, check=False).stdout)
        stage.pause(pause_s)
    process.terminate()
    process.wait(timeout=10)


def _asked(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
