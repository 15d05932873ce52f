"""Keeping an incident: excerpt, look-alike, expected finding and a tuned threshold, as a folder that can be replayed.

Called by `loomidi analyze --incidents`. In: findings and the captures that they were found in. Out: one folder a
finding under the one that was named, whole or not at all. A threshold is kept only when the replay shows that it
catches the attack earlier and that the look-alike stays silent. Nothing is applied. Steps, repeated in the code:

    1 cut excerpt and look-alike   2 write them   3 tune from the look-alike   4 replay, keep what helps   5 rename
"""

import contextlib
import dataclasses
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loomidi.contracts import Finding, InputError, Severity
from loomidi.ionic.decide.places import place
from loomidi.ionic.enforcer import Bounds, read_bounds
from loomidi.ionic.watched import watched_by
from loomidi.services.fast.tuning import learn_from
from loomidi.services.fast.waking import waking
from loomidi.services.incidents import replays
from loomidi.services.incidents.excerpts import Excerpt, ExcerptSettings, cut, packed, write_pcapng
from loomidi.services.incidents.replays import Parameters

_FEW_WINDOWS = 10  # of a look-alike: an excerpt is shorter than what `tune propose` asks for
_ENDLESS_NS = 2**63 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class KeepSettings:
    """How many incidents are kept, and how much of each."""

    most: int = 20
    # Of one analysis, the worst first; the others are counted.
    excerpt: ExcerptSettings = dataclasses.field(default_factory=ExcerptSettings)


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """What became of one finding."""

    name: str  # of its folder; empty when none was made
    why: str  # in words
    replayed: replays.Replayed | None = None


def keep(
    findings: Sequence[Finding], captures: Sequence[str], folder: Path, settings: KeepSettings | None = None
) -> list[Kept]:
    """A folder for each finding above `info`. One that is there already stays as it is. Raises InputError."""
    settings = settings or KeepSettings()
    serious = [finding for finding in findings if finding.severity is not Severity.INFO]
    chosen = serious[: settings.most]
    hostile = {address for finding in serious for address in _culprits(finding)}
    pairs = [(finding, *_excerpts(finding, hostile, settings.excerpt)) for finding in chosen]
    # 1 cut, all in one reading
    beside = cut(captures, [excerpt for _, *both in pairs for excerpt in both], settings.excerpt)
    kept = [_kept(finding, attack, benign, (folder, settings, beside)) for finding, attack, benign in pairs]
    left = len(serious) - len(chosen)
    return [*kept, Kept("", f"{left} more findings were left out: {settings.most} at most")] if left else kept


def _excerpts(finding: Finding, hostile: set[bytes], settings: ExcerptSettings) -> tuple[Excerpt, Excerpt]:
    """Packets of all that the finding names; and of its victim, without anybody hostile and outside the attack."""
    named, culprits = _addresses(finding), _culprits(finding)
    before, after = round(settings.before_s * 1e9), round(settings.after_s * 1e9)
    attack = Excerpt(named, (), finding.first_ns - before, finding.last_ns + after)
    # Where no source is blamed, nobody can be told apart while it lasts.
    gap = (0, 0) if culprits else (finding.first_ns - before, finding.last_ns + after)
    return attack, Excerpt(named - hostile, hostile, 0, _ENDLESS_NS, gap)


def _addresses(finding: Finding) -> set[bytes]:
    texts = (place(entity).address for entity in finding.entities)
    return {packed(text) for text in texts if text and "/" not in text}


def _culprits(finding: Finding) -> set[bytes]:
    there = place(finding.entities[0])
    return {packed(there.address)} if there.kind == "host" and there.address else set()


def _kept(finding: Finding, attack: Excerpt, benign: Excerpt, how: tuple[Path, KeepSettings, int]) -> Kept:
    folder, settings, beside = how
    name = f"{finding.pattern}-{finding.id.removeprefix('finding-')}"
    if (folder / name).exists():
        return Kept(name, "kept already, left as it is")
    if not attack.kept:
        return Kept("", f"{finding.pattern}: none of its packets is an Ethernet frame in these captures")
    with _whole(folder, name) as making:
        # 2 write
        write_pcapng(making / replays.EXCERPT, attack.kept, settings.excerpt.snaplen)
        _write_yaml(making / replays.EXPECTED, _expected(finding, bool(benign.kept)))
        silent = _keep_benign(making, benign, settings)
        # 3 tune   4 replay, keep what helps
        parameters, why = _tuned(making, finding) if silent else (Parameters(), "no look-alike to learn from")
        _write_yaml(making / replays.PARAMETERS, dataclasses.asdict(parameters) | {"why": why})
        replayed = replays.replay_one(making)
        if parameters.thresholds and (replayed.problem or not replayed.faster):
            why = f"not kept: {replayed.problem or 'it is caught no earlier with them'}"
            _write_yaml(making / replays.PARAMETERS, dataclasses.asdict(Parameters()) | {"why": why})
            replayed = replays.replay_one(making)
        left_out = {"attack": attack.left_out, "benign": benign.left_out, "not_ethernet_or_ip": beside}
        story = {"finding": finding.as_dict(), "left_out": left_out, "parameters": why}
        (making / replays.STORY).write_text(json.dumps(story, indent=1) + "\n", encoding="utf-8")
    return Kept(name, why, dataclasses.replace(replayed, name=name))


def _keep_benign(making: Path, benign: Excerpt, settings: KeepSettings) -> bool:
    """The look-alike, unless there is none or the rules already alarm on it: then nobody can vouch for it."""
    path = making / replays.BENIGN
    if not benign.kept:
        return False
    write_pcapng(path, benign.kept, settings.excerpt.snaplen)
    if replays.alarms(path):
        path.unlink()
        return False
    return True


def _expected(finding: Finding, look_alike: bool) -> dict[str, Any]:
    """In the form of `rules/detections`: what is replayed, what must be found, what must stay silent."""
    return {
        "pattern": finding.pattern,
        "severity": finding.severity.value,
        "entities": list(finding.entities),
        "first_ns": finding.first_ns,
        "replay": {"capture": replays.EXCERPT},
        "look_alikes": [{"capture": replays.BENIGN}] if look_alike else [],
    }


def _tuned(making: Path, finding: Finding) -> tuple[Parameters, str]:
    """Thresholds of the service that was attacked, from its traffic without the attack."""
    service = next((entity for entity in finding.entities if entity.startswith("service/")), "")
    if watched_by(service) is None:
        return Parameters(), "the finding names no service whose thresholds could be tuned"
    bounds = dataclasses.replace(read_bounds(), least_windows=_FEW_WINDOWS)
    tuner, shield = learn_from([str(making / replays.BENIGN)], bounds)
    with shield:
        tunings = [tuning for tuning in tuner.tunings() if tuning.fold.target == service]
    if tunings:
        given = tunings[0].fold.thresholds
        learned = {name: count for name, count in given.items() if name != "window_ms"}
        return Parameters(service, learned), "learned from the look-alike"
    return Parameters(service, _lowered(bounds)), "the look-alike is too short: lowered by a day's share"


def _lowered(bounds: Bounds) -> Mapping[str, int]:
    """The thresholds of all services, less the share that a day may change them by, within bounds."""
    of_all = dataclasses.asdict(waking().service)
    share = 1 - bounds.most_change_per_day
    return {
        name: min(max(math.ceil(of_all[name] * share), least), most) for name, (least, most) in bounds.service.items()
    }


@contextlib.contextmanager
def _whole(folder: Path, name: str) -> Iterator[Path]:
    """A folder that gets its name when everything is in it. Raises InputError when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    except OSError as error:
        raise InputError(f"{folder}: no incident can be kept there: {error.strerror}; name another folder") from error
    try:
        yield making
        # 5 rename
        making.chmod(0o755)
        making.rename(folder / name)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _write_yaml(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(data), sort_keys=False), encoding="utf-8")
