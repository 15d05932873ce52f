"""Folds as people read them: a line of a story in a list, the whole story of one.

Called by the verb `fold`. In: a view of a Fold, the time. Out: sentences. What was found and done is told by `insight`;
here is what only a cluster knows: its phase, what holds it, who approved it, when it ends. Pure.
"""

from collections.abc import Mapping
from typing import Any

from loomidi.contracts import BlastRadius, Conversation, LoomidiError
from loomidi.fold.asking import PERSON
from loomidi.fold.operator.approving import PREFIX
from loomidi.fold.operator.views import REQUESTED_BY, View
from loomidi.fold.resources import MEANING, plan_of
from loomidi.fold.resources.objects import finding_of, fold_of, nanoseconds, receipts_of
from loomidi.fold.stating import stated
from loomidi.insight import wording
from loomidi.insight.explain import Part, tell
from loomidi.insight.explain.telling import remedy
from loomidi.ionic.decide.places import NAMES

_MOST_TOLD = 16  # conversations in words
_DETECTED = ("What was seen", "By which rule", "ATT&CK", "Why it matters")  # what a person's word has not


def summary(view: View) -> dict[str, Any]:
    """For programs."""
    spec, status = view.spec, view.status
    return {
        "namespace": view.metadata["namespace"],
        "name": view.metadata["name"],
        "kind": spec["kind"],
        "target": spec["target"],
        "mode": spec.get("mode", "shadow"),
        "phase": str(view.phase or ""),
        "because": (spec.get("finding") or {}).get("pattern", spec["because"]),
        "policy": status.get("policy", spec.get("policy", "")),
        "since": status.get("since", ""),
        "until": status.get("until", ""),
        "held": str(view.condition("Held").get("reason", "")) if view.holding else "",
        "message": status.get("message", ""),
    }


def line(view: View, now_ns: int) -> str:
    """Two lines: where it is, and what it does and why."""
    told = summary(view)
    since = f" for {wording.span(view.at('since'), now_ns)}" if view.at("since") and not view.over else ""
    ended = f" {wording.span(view.at('since'), now_ns)} ago" if view.at("since") and view.over else ""
    because = wording.printable(str(told["because"]))
    return (
        f"{view.key}  {told['phase'] or 'new'}{since}{ended}{_left(view, now_ns)}\n"
        f"  {_does(view)} Because of {because}; mode {told['mode']}. {_sentence(str(told['message']))}"
    ).rstrip()


def story(view: View, now_ns: int) -> tuple[Part, ...]:
    """Everything about one, in parts; what is not there is left out."""
    parts = (
        Part("Where it is", _stands(view, now_ns)),
        *_told(view),
        Part("Flow by flow", _flows(view)),
        Part("Who approved", _approvals(view)),
        Part("What the probes see", _probes(view)),
        Part("When it ends", _ends(view, now_ns)),
    )
    return tuple(part for part in parts if part.text)


def signing(told: Mapping[str, Any], view: View) -> str:
    """What a person is about to sign, in words."""
    version, plan = told["target"]["resourceVersion"], wording.printable(told["plan"]["id"])
    target = f"as it was judged (version {version})" if version else "which is no object of the cluster"
    return (
        f"{_does(view)}\n"
        f"You sign, as {told['approver']}: that plan {plan} of Fold {told['fold']['key']} may be carried "
        f"out on {wording.name(view.spec['target'])}, {target}, until {_time(told['expiresTime'])}."
    )


def _does(view: View) -> str:
    try:
        return remedy(fold_of(view.obj))
    except LoomidiError:
        return f"{view.spec['kind']} on {wording.name(view.spec['target'])}."


def _told(view: View) -> tuple[Part, ...]:
    """By `insight`, as far as the Fold holds a finding and a plan."""
    try:
        fold, finding = fold_of(view.obj), finding_of(view.obj)
        plan = plan_of(view.obj) if "plan" in view.spec else None
    except LoomidiError as error:
        return (Part("What would be done", _does(view)), Part("What is wrong", _sentence(str(error))))
    if finding is None:
        because = wording.printable(str(view.spec["because"]))
        return (Part("What would be done", remedy(fold)), Part("Why", f"A person's word: {because}. It holds no plan."))
    parts = tell(finding, [fold], receipts_of(view.obj), plan=plan, judged=[(fold, view.verdicts)])
    if plan is not None and _unmeasured(plan.blast_radius):
        blind = "It was not measured, and so is counted as all traffic that there is."
        parts = tuple(Part(part.heading, blind) if part.heading == "Blast radius" else part for part in parts)
    if not finding.source.startswith(PERSON):
        return parts
    return (Part("Why", _sentence(finding.explanation)), *(part for part in parts if part.heading not in _DETECTED))


def _flows(view: View) -> str:
    """What an isolation cuts and what goes on, each conversation; `--json` has all that are listed."""
    found = stated(view.obj)
    if found is None:
        return ""
    cut, stays = (
        wording.listing([_conversation(one) for one in ones], _MOST_TOLD) for ones in (found.cut, found.stays)
    )
    told = [f"It cuts: {cut}."] if cut else []
    told += [f"Beyond those, {wording.count(found.unlisted)} that are not listed."] if found.unlisted else []
    told += [f"It lets go on: {stays}."] if stays else []
    return " ".join(told)


def _conversation(one: Conversation) -> str:
    port = f" port {one.port}" if one.port else ""
    protocol = f" {NAMES.get(one.protocol, str(one.protocol))}" if one.protocol else ""
    return f"{wording.printable(one.client)} asks {wording.printable(one.server)}{port}{protocol}"


def _unmeasured(radius: BlastRadius) -> bool:
    """Without a graph of flows the worst is assumed."""
    return radius.flows == 0 and radius.share_of_octets == 1


def _stands(view: View, now_ns: int) -> str:
    meaning = (
        f"{view.phase}: {MEANING[view.phase]}." if view.phase else "Nobody has looked at it yet: does an operator run?"
    )
    since = f" So for {wording.span(view.at('since'), now_ns)}." if view.at("since") and not view.over else ""
    held = f" A brake holds it ({view.condition('Held').get('reason')})." if view.holding else ""
    message = _sentence(str(view.status.get("message", "")))
    message = "" if message.rstrip(".").lower() in meaning.lower() else f" {message}"
    policy = f" Judged by FoldPolicy {view.status['policy']}." if view.status.get("policy") else ""
    asked = f" Asked for by {wording.printable(view.noted(REQUESTED_BY))}." if view.noted(REQUESTED_BY) else ""
    return f"{meaning}{since}{held}{message}{policy}{asked}"


def _approvals(view: View) -> str:
    counted = [
        f"{wording.printable(one['approver'])} at {_time(one['grantedTime'])}"
        for one in view.status.get("approvals") or ()
    ]
    notes = view.metadata.get("annotations") or {}
    lying = [wording.printable(name.removeprefix(PREFIX)) for name in sorted(notes) if name.startswith(PREFIX)]
    if counted:
        return f"{wording.listing(counted, 9)}."
    return f"Nobody so far; statements by {wording.listing(lying, 9)} lie on it and do not suffice." if lying else ""


def _probes(view: View) -> str:
    told = [
        f"{wording.printable(one['name'])} {'holds' if one['holds'] else 'does not hold'} since {_time(one['since'])}"
        f" ({wording.printable(one.get('message', ''))})"
        for one in view.status.get("probes") or ()
    ]
    return f"{'; '.join(told)}." if told else ""


def _ends(view: View, now_ns: int) -> str:
    if view.over:
        return f"It is over since {wording.moment(view.at('since'))}."
    if view.begun:
        until = f"{wording.moment(view.at('until'))}{_left(view, now_ns)}"
        return f"It is taken back by itself at {until}; sooner by `loomidi fold release`."
    if "plan" not in view.spec:
        return ""
    until_ns = nanoseconds(view.spec["plan"]["expiresTime"])
    return f"Nothing was touched. What is not begun by {wording.moment(until_ns)} expires."


def _left(view: View, now_ns: int) -> str:
    until_ns = view.at("until")
    return f", {wording.span(now_ns, until_ns)} left" if view.begun and until_ns > now_ns else ""


def _time(text: str) -> str:
    return wording.moment(nanoseconds(text))


def _sentence(text: str) -> str:
    clean = wording.printable(text).strip()
    return clean[:1].upper() + clean[1:] + ("" if clean.endswith(".") else ".") if clean else ""
