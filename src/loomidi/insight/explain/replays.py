"""What a fold would have cut of the flows that were kept, in sentences.

Called by `telling` and by `loomidi fold radius`. In: a `Replay`. Out: sentences, '' where nobody has asked. Every
figure is the record's own.
"""

from loomidi.contracts import Replay
from loomidi.insight import wording

_TOLD = 5  # by name


def replay_told(replay: Replay) -> str:
    """`Had it been in force from ... to ..., it would have cut 14 peers, 3.1% of octets: ...`."""
    if not replay.state:
        return ""
    if not replay.measured:
        return f"What it would have cut of late is not known: {wording.printable(replay.why)}."
    seen = f"{wording.plural(replay.rows, 'flow record')} of {wording.period(replay.since_ns, replay.until_ns)}"
    if not replay.flows:
        return f"Of {seen} it would have cut none."
    return " ".join(part for part in (_cut(replay, seen), _ways(replay), _protected(replay)) if part)


def _cut(replay: Replay, seen: str) -> str:
    named = [wording.name(one) for one in replay.named]
    beyond = replay.peers - len(named)
    others = f" and {wording.count(beyond)} that are not listed" if beyond > 0 else ""
    much = f"{wording.plural(replay.flows, 'flow')}, {wording.octets(replay.octets)}"
    much += f", {replay.share_of_octets:.1%} of octets"
    peers = wording.plural(replay.peers, "peer")
    return f"Of {seen} it would have cut {peers} ({much}): {wording.listing(named, _TOLD)}{others}."


def _ways(replay: Replay) -> str:
    ways = wording.listing([wording.printable(one) for one in replay.paths], _TOLD)
    beyond = f", and {wording.count(replay.unlisted_paths)} more" if replay.unlisted_paths else ""
    return f"Ways of users that it would have cut: {ways}{beyond}." if ways else ""


def _protected(replay: Replay) -> str:
    named = wording.listing([wording.name(one) for one in replay.protected], _TOLD)
    return f"It would have met the protected set: {named}." if named else ""
