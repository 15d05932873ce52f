"""The operator as a process of its own: cluster, guards, driver, lease, signals.

Called by `loomidi serve operator`. In: settings, the environment, handed in. Out: it runs until SIGINT or SIGTERM, then
lets go of the lease; what is in force stays, and ends on time by the next replica. Raises EnvironmentLacks without a
cluster or with a key that cannot be used.
"""

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from loomidi.contracts import EnvironmentLacks, Mode, UsageError
from loomidi.fold.operator import (
    ASKERS,
    Approvers,
    Leadership,
    LeaseSettings,
    Operator,
    OwnKeys,
    People,
    RunSettings,
    SharedKey,
    SweepSettings,
    heard,
    unkept,
)
from loomidi.ionic.act.kube import Agents, AgentSettings, KubeApi, KubeDriver, Patience
from loomidi.ionic.approvals import KEY_OCTETS, Signer
from loomidi.ionic.decide import Decider, DeciderSettings, standard_guards
from loomidi.ionic.orders import KeySealer
from loomidi.loom.sources.clusters import access
from loomidi.services.folds.approval_ledger import ApprovalLedger
from loomidi.services.folds.keeping import Records
from loomidi.services.http import serving
from loomidi.services.http.authority import Door
from loomidi.services.shared.probes import Probes, Sample

REQUEST_S, LEASE_REQUEST_S = 30.0, 3.0  # until a request is given up
_PROBES_END_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What one replica is told."""

    kubeconfig: Path | None = None
    # Which cluster; None: KUBECONFIG, the pod's own account, ~/.kube/config.
    mode: Mode = Mode.SHADOW
    # The furthest that any Fold goes here.
    protected: tuple[str, ...] = ()
    # Addresses and CIDRs that no Fold may cut.
    approval_key: Path | None = None
    # File with a key that all persons share; None: see the next one.
    approvers: Path | None = None
    # File that lists who may approve, with their own public keys; without either nobody can.
    at_hand: bool = False
    # Say what is at hand, for the policies of deployments/admission.
    agents_key: Path | None = None
    # File with the key that seals orders to the nodes' agents; None: no agents, only the API's objects are changed.
    agents: AgentSettings = dataclasses.field(default_factory=AgentSettings)
    # How they are reached.
    holder: str = ""
    # This replica's name in the lease; empty: host name and process id.
    lease: LeaseSettings = dataclasses.field(default_factory=LeaseSettings)
    # Shared by all replicas.
    records: Path | None = None
    # Folder, which outlives this process, for what each approval was worth and the records of Folds that are removed;
    # None: neither is written, and no Fold is removed.
    sweep: SweepSettings = dataclasses.field(default_factory=SweepSettings)
    # Which of those that are over are.
    probes: Door | None = None
    # Where health, readiness and metrics are told; None: nowhere.


def serve(settings: OperatorSettings, environment: Mapping[str, str], say: Callable[[str], object]) -> None:
    """Until a signal."""
    stop, signer = threading.Event(), Signer(_key(settings.approval_key))
    cluster = access(settings.kubeconfig, environment)
    holder = settings.holder or f"{socket.gethostname()}-{os.getpid()}"
    with cluster.blocking(REQUEST_S) as acting, cluster.blocking(LEASE_REQUEST_S) as leading:
        leadership = Leadership(KubeApi(leading, Patience(tries=1)), holder, settings.lease)
        records = Records(settings.records) if settings.records else None
        ledger = ApprovalLedger(settings.records) if settings.records else None
        if records and ledger:
            records.check()  # before anything is done
            ledger.check()
        agents = agents_of(settings, lambda: leadership.fence().token)
        operator = Operator(
            acting,
            lambda api, books: KubeDriver(api, signer, agents=agents, recall=books.recall),
            lambda active: _deciders(settings.protected, signer, active),
            _approvers(settings, signer),
            leadership,
            settings=RunSettings(mode=settings.mode, at_hand=settings.at_hand, sweep=settings.sweep),
            askers={**ASKERS, "flows": heard(agents)},
            keep=records.keep if records else None,
            ledger=ledger.write if ledger else unkept,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        say(f"operator {holder} at {cluster.server}, mode {settings.mode.value}; it acts once it holds the lease")
        if ledger is None:
            say("no --records: approvals that count are on the Folds alone, those that do not are nowhere")
        with _probed(operator, ledger, settings.probes, say):
            operator.run(stop)


@contextlib.contextmanager
def _probed(
    operator: Operator, ledger: ApprovalLedger | None, door: Door | None, say: Callable[[str], object]
) -> Iterator[None]:
    """Probes on a thread of their own, for as long as the operator works. Raises Conflict for a taken port."""
    if door is None:
        yield
        return
    serving.bound_port(door)  # before anything is done: the thread could tell nobody
    probes = Probes(ready=operator.ready, samples=lambda: _samples(operator, ledger))
    loop, told = asyncio.new_event_loop(), asyncio.Event()
    served = probes.serve(door, told, listening=lambda port: say(f"probes on port {port}"))
    thread = threading.Thread(target=loop.run_until_complete, args=(served,), name="loomidi-probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(told.set)
        thread.join(_PROBES_END_S)


def _samples(operator: Operator, ledger: ApprovalLedger | None) -> Iterator[Sample]:
    """For /metrics."""
    yield from ledger.samples() if ledger else ()
    yield Sample("loomidi_operator_leading", "gauge", "1: this replica acts", int(operator.leading))
    for phase, number in sorted(operator.phases().items()):
        yield Sample("loomidi_operator_folds", "gauge", "Folds by phase", number, {"phase": phase})
    about = "Folds that are over and old, by what became of them"
    for what, number in sorted(operator.swept().items()):
        yield Sample("loomidi_operator_swept_total", "counter", about, number, {"what": what})


def agents_of(settings: OperatorSettings, token: Callable[[], int]) -> Agents | None:
    """The node agents, when there is a key for them."""
    key = _key(settings.agents_key, "key of orders")
    return Agents(KeySealer(key), token, settings.agents) if key is not None else None


def _deciders(
    protected: tuple[str, ...], signer: Signer, active: Callable[[], Mapping[str, int]]
) -> Callable[[Mode], Decider]:
    """A decider for each mode that plans come in; guards are made once."""

    @functools.cache
    def decider(mode: Mode) -> Decider:
        settings = DeciderSettings(mode=mode)
        return Decider(standard_guards(protected, settings), protected, settings, signer=signer, active=active)

    return decider


def _approvers(settings: OperatorSettings, signer: Signer) -> Approvers:
    """One way at a time: with a shared key anybody could sign for all others."""
    if settings.approvers is None:
        return SharedKey(signer)
    if settings.approval_key is not None:
        raise UsageError("give --approvers or --approval-key; with both a shared key would stand in for anybody")
    return OwnKeys(People(settings.approvers))


def _key(file: Path | None, what: str = "approval key") -> bytes | None:
    if file is None:
        return None
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise EnvironmentLacks(f"{file}: {error.strerror}; name a file with the {what}") from error
    if len(key) < KEY_OCTETS:
        hint = f"give at least {KEY_OCTETS}, such as `openssl rand -hex 32`"
        raise EnvironmentLacks(f"{file} has {len(key)} octets; {hint}")
    return key
