"""A newsletter to customers: real mails, put into the shop's queue from a pod of orders as orders itself does it.

Called by the python step of scenario.yaml.
"""

from typing import Any

from loomidi_lab.staging.steps import execute

_PROGRAM = """
import json, os, sys, time
import redis
queue = redis.Redis(os.environ.get("REDIS_HOST", "redis"), 6379, password=os.environ.get("REDIS_PASSWORD"))
rate, seconds, start = float(sys.argv[1]), float(sys.argv[2]), time.monotonic()
for number in range(int(rate * seconds)):
    time.sleep(max(0.0, start + number / rate - time.monotonic()))
    mail = {"to": f"customer{number}@visitors.example", "subject": "What is new in the shop", "id": number}
    text = json.dumps({"mail": mail, "traceparent": "", "since": time.time(), "tries": 0})
    queue.lpush("shop:mail", text)
print("newsletter: mails", number + 1)
"""
_SLACK_S = 15.0


def newsletter(stage: Any, per_second: int, seconds: float) -> None:
    """Put mails in at that rate for that long."""
    orders = {"kind": "Deployment", "namespace": "shop", "name": "orders"}
    command = ["python3", "-c", _PROGRAM, per_second, seconds]
    execute.perform(stage, {"in": orders, "command": command, "deadline_s": float(seconds) + _SLACK_S})
