"""What folds can touch, compared: every such object of the cluster, marks that are left, entries of the nodes' kernels.

Called by bench/fold_undo.py. In: a lab. Out: a state, and what differs from an earlier one, a line each. Not compared:
what every write moves (resourceVersion, generation, managedFields), status, which kubelets and controllers tell, the
count of rollouts, pods that a controller made (their marks are), and the replicas of what an autoscaler rules: there
are no metrics here by which it would scale back what a fold made it scale up.
"""

import copy
import json
import subprocess
import sys
from typing import Any

from loomidi.fold.operator.orphans import COLLECTIONS
from loomidi.fold.operator.permitting import AT_HAND
from loomidi.fold.operator.views import FINALIZER, FOLDS
from loomidi.ionic.act.kube.fields import mark
from loomidi.ionic.decide.manifests import QUARANTINE
from loomidi_lab.cluster import Lab

OTHERS = "others"  # a label of somebody else, who is part of the bench
_SEEN = (*COLLECTIONS, "/api/v1/services", "/api/v1/namespaces")
_PASSING = ("resourceVersion", "generation", "managedFields", "creationTimestamp")
_COUNTED = "deployment.kubernetes.io/revision"
Object = dict[str, Any]
State = dict[str, Object]


def state(lab: Lab) -> State:
    """As it is now."""
    found = {path: lab.api.list(path) for path in _SEEN}
    ruled = {_aim(one) for one in found["/apis/autoscaling/v2/horizontalpodautoscalers"]}
    kept = [(path, obj) for path in _SEEN for obj in found[path] if not obj["metadata"].get("ownerReferences")]
    return {_named(path, obj): _lasting(path, obj, ruled) for path, obj in kept}


def differences(before: State, now: State) -> list[str]:
    """One line for each field."""
    lines = [f"{name} is gone" for name in sorted(before.keys() - now.keys())]
    lines += [f"{name} is new" for name in sorted(now.keys() - before.keys())]
    for name in sorted(before.keys() & now.keys()):
        lines += [f"{name}: {text}" for text in _differing(before[name], now[name])]
    return lines


def marks(lab: Lab) -> list[str]:
    """Whatever carries a mark of ours, pods of controllers among them."""
    lines = []
    for path in _SEEN:
        for obj in lab.api.list(path):
            labels, notes = (obj["metadata"].get(name) or {} for name in ("labels", "annotations"))
            found = [f"plan {mark(obj)}"] if mark(obj) else []
            found += [name for name in (QUARANTINE, AT_HAND) if name in labels or name in notes]
            lines += [f"{_named(path, obj)} carries {text}" for text in found]
    for fold in lab.api.list(FOLDS):
        if FINALIZER in (fold["metadata"].get("finalizers") or ()):
            lines.append(f"Fold {fold['metadata']['name']} has its finalizer ({fold['status'].get('phase')})")
    return lines


def entries(lab: Lab) -> list[str]:
    """What `loomidi cuts list` finds in the kernel, node by node."""
    lines = []
    for node in lab.nodes:
        words = [*lab.on(node), sys.executable, "-m", "loomidi", "cuts", "list", "--json"]
        found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        lines += [f"{node.name}: pod {one['cut']['pod']} by {one['cut']['plan']}" for one in found["cuts"]]
        lines += [f"{node.name}: source {one['deny']['match']['source']}" for one in found["denies"]]
    return lines


def quiet(lab: Lab, path: str) -> None:
    """The label of somebody else goes."""
    lab.api.patch(path, {"metadata": {"labels": {OTHERS: None}}})


def _named(path: str, obj: Object) -> str:
    metadata = obj["metadata"]
    return f"{path.rpartition('/')[2]} {metadata.get('namespace', '')}/{metadata['name']} {metadata['uid'][:8]}"


def _aim(scaler: Object) -> tuple[str, str]:
    return scaler["metadata"]["namespace"], scaler["spec"]["scaleTargetRef"]["name"]


def _lasting(path: str, obj: Object, ruled: set[tuple[str, str]]) -> Object:
    kept = copy.deepcopy(obj)
    kept.pop("status", None)
    for name in _PASSING:
        kept["metadata"].pop(name, None)
    (kept["metadata"].get("annotations") or {}).pop(_COUNTED, None)
    if not kept["metadata"].get("annotations"):
        kept["metadata"].pop("annotations", None)
    if (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) in ruled and path.startswith("/apis/apps/"):
        kept["spec"].pop("replicas", None)
    return kept


def _differing(before: Any, now: Any, at: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(before.keys() | now.keys())
        return [line for name in names for line in _differing(before.get(name), now.get(name), f"{at}.{name}")]
    return [] if before == now else [f"{at} was {json.dumps(before)[:200]}, is {json.dumps(now)[:200]}"]
