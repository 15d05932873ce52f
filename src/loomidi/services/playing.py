"""Playbooks with a decider and, where somebody asks for it, an engine: the composition root of `loomidi playbook`.

Called by `conductor.verbs.playbook`. In: settings, a shield, files that people name. Out: a `Runner` or a `Consumer`
with its hands. A dry run has no engine at all. For real, everything goes the way of any plan: both guards, an approval,
the engine with its receipts, the shield driver. What playbooks mean is left to `ionic.playbooks`.
"""

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts import Finding, InputError, Mode, UsageError
from loomidi.contracts.ports import Shield
from loomidi.garden.graph import EntityGraph
from loomidi.ionic.act import FILE_NAME as AGENTS
from loomidi.ionic.act import Engine, ShieldDriver, SqliteReceipts
from loomidi.ionic.decide import Decider, DeciderSettings, propose, standard_guards
from loomidi.ionic.decide.radius import Graph
from loomidi.ionic.documents import read_record
from loomidi.ionic.playbooks import (
    FILE_NAME,
    Consumer,
    Hands,
    Incident,
    Playbook,
    Runner,
    SqliteRuns,
    finding_of,
    incidents,
    library,
    load,
)
from loomidi.kit.clock import Clock, SystemClock
from loomidi.services.folds.planning import check_protected

RECEIPTS = "playbook-receipts.sqlite"  # in the state folder, beside the agent's: who settles a store is alone with it
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_GUARD_S = 30.0  # nobody waits behind a playbook; a policy engine that starts slowly is not a refusal


@dataclasses.dataclass(frozen=True, slots=True)
class PlayingSettings:
    """What playbooks are run with."""

    state: Path
    # Folder of receipts and runs; written to by runs for real alone.
    mode: Mode = Mode.SHADOW
    # How far a run may go without a person; shadow touches nothing.
    interface: str = ""
    # Whose pinned shield carries out what is about packets; empty: nothing can be carried out.
    protected: tuple[str, ...] = ()
    # Addresses or CIDRs that no fold may touch, beside those that the shield protects.
    capture: Path | None = None
    # What was seen lately, for the blast radius; without it the worst is taken for true.

    def __post_init__(self) -> None:
        """Raises UsageError for a protected entry that is neither an address nor a CIDR."""
        check_protected(self.protected)


def playbook_of(name: str) -> Playbook:
    """A playbook by its name in the library, its id, or its file. Raises InputError, BadPlaybook."""
    known = library()
    if name in known:
        return known[name]
    by_id = {book.id: book for book in known.values()}
    if name in by_id:
        return by_id[name]
    if not Path(name).exists() and "/" not in name and "." not in name:
        raise InputError(f"there is no playbook {name!r}; name a file, or one of: {', '.join(known)}")
    return load(Path(name))


@contextlib.contextmanager
def runner_for(settings: PlayingSettings, books: Sequence[Playbook] = (), *, real: bool) -> Iterator[Runner]:
    """A runner, and what it acts with let go of at the end. `books`: may be called beside the library's."""
    called = [*library().values(), *books]
    with contextlib.ExitStack() as stack:
        if not real:
            yield Runner(dry_hands(settings), books=called)
            return
        runs = SqliteRuns(settings.state / FILE_NAME)
        stack.callback(runs.close)
        yield Runner(stack.enter_context(_real_hands(settings)), runs, called)


@contextlib.contextmanager
def consumer_for(settings: PlayingSettings, *, real: bool) -> Iterator[Consumer]:
    """An OpenC2 consumer; without `real` it plans, judges and touches nothing."""
    if not real:
        yield Consumer(dry_hands(settings))
        return
    with contextlib.closing(SqliteRuns(settings.state / FILE_NAME)), _real_hands(settings) as hands:  # alone, as above
        yield Consumer(hands)


def dry_hands(settings: PlayingSettings, clock: Clock | None = None) -> Hands:
    """A decider and nothing else."""
    chosen = DeciderSettings(mode=Mode.SHADOW)
    guards = standard_guards(settings.protected, chosen, patience_s=_GUARD_S)
    graph = _seen(settings.capture)
    return Hands(Decider(guards, settings.protected, chosen, graph, clock=clock or SystemClock()))


def hands_over(shield: Shield, receipts: SqliteReceipts, settings: PlayingSettings) -> Hands:
    """Hands that reach one shield. What an earlier process left open is settled first."""
    engine = Engine(receipts, [ShieldDriver(shield)])
    engine.recover()
    protected = (*settings.protected, *shield.protected())
    chosen = DeciderSettings(mode=settings.mode)
    guards = standard_guards(protected, chosen, patience_s=_GUARD_S)
    decider = Decider(guards, protected, chosen, _seen(settings.capture), active=engine.active)
    return Hands(decider, engine, receipts)


@contextlib.contextmanager
def _real_hands(settings: PlayingSettings) -> Iterator[Hands]:
    if not settings.interface:
        raise UsageError(
            "a run for real takes --interface: the link whose shield carries it out (`loomidi shield attach`)"
        )
    from loomidi.loom.capture import reopen  # reaches for the kernel, which a dry run never does

    shield = reopen(settings.interface)
    with contextlib.closing(shield), contextlib.closing(SqliteReceipts(settings.state / RECEIPTS)) as receipts:
        yield hands_over(shield, receipts, settings)


def _seen(capture: Path | None) -> Graph | None:
    """Who talks to whom in a capture; None without one."""
    if capture is None:
        return None
    from loomidi.loom.flows import MeterSettings, meter  # the C library, which a run without a capture needs not

    graph = EntityGraph()
    with meter([str(capture)], MeterSettings()) as flows:
        for batch in flows:
            graph.absorb(batch)
    return graph


# -- findings and incidents -----------------------------------------------------------------------


def finding_in(path: Path, finding_id: str = "") -> Finding:
    """A finding from a file: alone, as `finding` of a sample, one of `loomidi analyze --json`, or a row of the lake's
    table `findings` as `loomidi lake query --json` writes it. Raises InputError.
    """
    document = _document(path)
    if isinstance(document, Mapping) and "finding_id" in document:
        document = _of_row(path, document)
    if isinstance(document, Mapping) and isinstance(document.get("finding"), Mapping):
        document = document["finding"]
    if isinstance(document, Mapping) and isinstance(document.get("findings"), list):
        document = _chosen(path, document["findings"], finding_id)
    if not isinstance(document, Mapping):
        raise InputError(f"{path}: no finding; give one as JSON, or what `loomidi analyze --json` wrote")
    names = {field.name for field in dataclasses.fields(Finding)}
    return read_record(Finding, {name: value for name, value in document.items() if name in names}, "finding")


def finding_for(book: Playbook, path: Path | None, finding_id: str = "") -> Finding | None:
    """What a run of the playbook rests on: the file that is named, else the finding that it was exported from."""
    return finding_in(path, finding_id) if path is not None else finding_of(book)


def receipt_stores(state: Path) -> tuple[Path, ...]:
    """The receipts that a state folder holds: of agents, and of playbooks. The first where there are none."""
    both = (state / AGENTS, state / RECEIPTS)
    return tuple(path for path in both if path.is_file()) or both[:1]


def incident_of(finding_id: str, stores: Sequence[Path]) -> Incident:
    """One incident by the id of its finding. Raises InputError, naming those that are there."""
    known = {incident.finding.id: incident for incident in incidents_in(stores)}
    if finding_id not in known:
        there = ", ".join(known) or "none"
        raise InputError(f"nothing was done about {finding_id!r} in {', '.join(map(str, stores))}; known: {there}")
    return known[finding_id]


def incidents_in(stores: Sequence[Path]) -> tuple[Incident, ...]:
    """Every incident of the receipts in these files, oldest first."""
    found = []
    for path in stores:
        with contextlib.closing(SqliteReceipts(path, read_only=True)) as receipts:
            found += receipts.all()
    return incidents(sorted(found, key=lambda receipt: receipt.at_ns))


def proposed_incident(finding: Finding, settings: PlayingSettings) -> Incident:
    """The incident of a finding about which nothing was done yet: the folds that we would propose, in their order."""
    decider = dry_hands(settings).decider
    return Incident(finding, tuple(decider.plan(finding, fold) for fold in propose(finding)), ())


def _chosen(path: Path, findings: list[Any], finding_id: str) -> Any:
    known = {str(one.get("id", "")): one for one in findings if isinstance(one, Mapping)}
    if finding_id and finding_id not in known:
        raise InputError(f"{path}: there is no finding {finding_id}; there are: {', '.join(known) or 'none'}")
    if not finding_id and len(known) != 1:
        raise InputError(
            f"{path}: holds {len(known)} findings; choose one with --finding-id: {', '.join(list(known)[:20])}"
        )
    return known[finding_id or next(iter(known))]


def _of_row(path: Path, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of the table `findings`: times as text, the evidence as JSON in a text."""
    try:
        moments = {name: datetime.datetime.fromisoformat(str(row[name])) for name in ("first", "last")}
        evidence = json.loads(row["evidence"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no row of the table findings: {error}; query all its columns") from error
    times = {f"{name}_ns": _ns(moment) for name, moment in moments.items()}
    return {**row, "id": row["finding_id"], "evidence": evidence, **times}


def _ns(moment: datetime.datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)  # the lake keeps UTC
    return round((aware - _EPOCH) / datetime.timedelta(microseconds=1)) * 1000


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: no JSON: {error}") from error


def openc2_document(path: Path) -> Any:
    """The JSON in a file. Raises InputError."""
    return _document(path)
