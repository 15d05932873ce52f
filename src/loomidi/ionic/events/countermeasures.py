"""What a fold is in MITRE's D3FEND, where that is certain.

Called by `findings` and `remediations`. In: a plan. Out: OCSF's list of `d3fend` objects, empty where no technique says
just what the fold does (a rate limit, a scale-out). Source: D3FEND, tactics Isolate and Restore. Pure.
"""

from typing import Any

from loomidi.contracts import FoldKind, Plan

_FILTERING = ("D3-NTF", "Network Traffic Filtering", "Isolate")
_ISOLATION = ("D3-NI", "Network Isolation", "Isolate")
_RESTORED = ("D3-RNA", "Restore Network Access", "Restore")


def countermeasures(plan: Plan | None, *, undone: bool = False) -> list[dict[str, Any]]:
    """Of a plan, or of its undoing."""
    found = _technique(plan) if plan else None
    if found is None:
        return []
    uid, name, tactic = _RESTORED if undone else found
    return [{"d3f_tactic": {"name": tactic}, "d3f_technique": {"uid": uid, "name": name}}]


def tactic(plan: Plan | None, *, undone: bool = False) -> str:
    """The tactic's name, empty where it is not certain."""
    found = countermeasures(plan, undone=undone)
    return str(found[0]["d3f_tactic"]["name"]) if found else ""


def _technique(plan: Plan) -> tuple[str, str, str] | None:
    if plan.fold.kind is FoldKind.ISOLATE_POD:
        return _ISOLATION
    drops = plan.fold.kind is FoldKind.RECONFIGURE_NETWORK and plan.fold.action == "drop"
    return _FILTERING if drops else None
