"""A certificate of payment that lives for some seconds, signed by the shop's own authority.

Called by the python step of scenario.yaml.
"""

import base64
import datetime
import time
from typing import Any

from loomidi_lab.shop import certificates, deploying
from loomidi_lab.staging.journals import restoring
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.steps import patch
from loomidi_lab.staging.targets import path_of

LIFE_S = 14  # enough for the rollout of one pod, and less than a recorder leaves for the set-up
_SECRET = EntityRef("Secret", "shop", "payment-tls")
_PAYMENT = EntityRef("Deployment", "shop", "payment")


def short_lived(stage: Any) -> None:
    """Give payment the certificate, wait until it serves it and until it has ended."""
    end = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(seconds=LIFE_S)
    pair = certificates.issue(deploying.find(stage.lab).authority, "payment", "shop", not_after=end)
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    coded = {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}
    before = restoring(path_of(_SECRET), stage.lookup.get(_SECRET) or {})
    patch.perform(stage, {"entity": _SECRET.as_dict(), "body": {"data": coded}, "kind": "merge"})
    stamp = {"shop/certificate-until": end.isoformat()}
    body = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
    patch.perform(stage, {"entity": _PAYMENT.as_dict(), "body": body})
    stage.remember(**before)  # once more: taken back before the rollout is, so that the new pod reads the old one
    stage.until(lambda: _rolled_out(stage), 60.0, "the rollout of payment")
    stage.pause(max(0.0, end.timestamp() - time.time()))


def _rolled_out(stage: Any) -> bool:
    found = stage.lookup.get(_PAYMENT) or {}
    status = found.get("status", {})
    seen = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
    return bool(seen and status.get("updatedReplicas") == status.get("readyReplicas") == status.get("replicas") == 1)
