"""With and without a fold, in sentences.

Called by `loomidi fold compare`. In: the document of a comparison (`fold.comparing.Compared.as_dict`), since this house
does not know folds. Out: lines. Every figure is the document's own, and what is assumed is told as such.
"""

from collections.abc import Mapping
from typing import Any

from loomidi.insight import wording

_NAMES = {"before": "before it", "during": "while it was in force", "after": "after it"}


def comparison_told(told: Mapping[str, Any]) -> list[str]:
    """A line for each span, then what would have come, then probes and end."""
    lines = [f"{_NAMES[name]}: {_seen(told['seen'][name])} in {_lasted(span)}" for name, span in told["spans"].items()]
    lines.append(_without(told))
    for name, holds, message in told["probes"]:
        held = "held" if holds else "did not hold"
        lines.append(f"probe {wording.printable(name)} {held}: {wording.printable(message)}")
    if told["back"]:
        lines.append(f"after its end: {wording.printable(told['back'])}")
    return lines


def _seen(replay: Mapping[str, Any]) -> str:
    if replay.get("state") != "measured":
        return f"not known ({wording.printable(replay.get('why', ''))})"
    flows, octets = replay.get("flows", 0), replay.get("octets", 0)
    return f"{wording.plural(flows, 'flow')}, {wording.octets(octets)} of the traffic that it is about"


def _lasted(span: tuple[int, int]) -> str:
    return wording.span(span[0], span[1])


def _without(told: Mapping[str, Any]) -> str:
    if told["without_octets"] is None:
        return "without it: not known, for the lake does not say what was before"
    much = f"{wording.plural(told['without_flows'], 'flow')}, {wording.octets(told['without_octets'])}"
    line = f"without it: {much} would have come while it was in force, if {told['assumed']}"
    if told["kept_off_octets"] is None:
        return f"{line}; how much of it came all the same is not known"
    if told["kept_off_octets"] < 0:
        return f"{line}; {wording.octets(-told['kept_off_octets'])} more than that came"
    return f"{line}; {wording.octets(told['kept_off_octets'])} of it did not come"
