"""Records one schedule on a lab: every source on, scenarios at their times, everything into one folder.

Called by `commands` and by tests. In: lab, plan, seed, an empty folder. Out: the folder, complete when
`MANIFEST.sha256` is in it; a recording that was cut off lacks that and `verify` says so. Each source is one module
under `sources`.
"""

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from loomidi.contracts.errors import Conflict, EnvironmentLacks, LoomidiError
from loomidi.loom.flows.accounts import LinkId
from loomidi_lab import staging
from loomidi_lab.recording.acting import Acts, RunOne, Say
from loomidi_lab.recording.costs import Costs, few_arenas, served_first
from loomidi_lab.recording.entities import Entities
from loomidi_lab.recording.hashing import write_manifest
from loomidi_lab.recording.loads import Load, begin_load, profile, ready_shop
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.planning import Item, Plan, Schedule, load_plan, schedule
from loomidi_lab.recording.sources import nodes
from loomidi_lab.recording.sources.auditing import Audit
from loomidi_lab.recording.sources.capturing import Packets
from loomidi_lab.recording.sources.metering import PATTERNS, QUEUE, Flows
from loomidi_lab.recording.sources.objects import Objects
from loomidi_lab.recording.sources.scraping import CADVISOR_EVERY_S, Metrics, PodTargets, Target
from loomidi_lab.recording.sources.tailing import Logs, log_folders
from loomidi_lab.recording.sources.tracing import Traces
from loomidi_lab.recording.sources.working import Workers
from loomidi_lab.recording.streams import PCAP, STREAMS
from loomidi_lab.recording.surroundings import fixed_entities, provenance
from loomidi_lab.staging.observing import Observer

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

FREE_BYTES = 5 << 30
TICK_S = 0.2
DRAIN_S = 3.0  # what is on its way when the window ends: spans, log lines, audit batches
RING_MIB = 8  # per link: the usual 4 hold two seconds, and a busy machine may let us wait longer
SETTLE_S = 2.0  # all sources run before the schedule's clock starts


def silent(_text: str) -> None:
    """Progress that nobody watches."""


def record(lab: "Lab", plan: str | Plan, seed: int, out: Path, *, pcap: bool = False, progress: Say = silent) -> Path:
    """Record a plan. Raises before anything is begun: UsageError, InputError, Conflict, EnvironmentLacks.

    A fault or Ctrl-C while recording takes back what runs, leaves an incomplete folder and rises.
    """
    planned = schedule(load_plan(plan) if isinstance(plan, str) else plan, seed)
    check_place(out)
    profile(planned.plan.load)
    ready_shop(lab, progress)
    for item in planned.items:
        _check_needs(lab, item)
    session = Session(lab, planned, out, pcap=pcap, progress=progress)
    return session.run()


def check_place(out: Path) -> None:
    """Raises Conflict when the folder holds something, EnvironmentLacks when the disk is too full."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Conflict(f"{out} is not empty; name a new folder with --out")
    there = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    found = os.statvfs(there)
    free = found.f_bavail * found.f_frsize
    if free < FREE_BYTES:
        raise EnvironmentLacks(
            f"{free / 1e9:.1f} GB free at {out}, a recording needs {FREE_BYTES / 1e9:.1f}; make room"
        )


def _check_needs(lab: "Lab", item: Item) -> None:
    from loomidi_lab.staging.running import check_needs

    check_needs(lab, staging.draw(staging.load(item.scenario), item.seed))


class Session:
    """One recording while it is made."""

    def __init__(self, lab: "Lab", planned: Schedule, out: Path, *, pcap: bool, progress: Say) -> None:
        self.lab, self.schedule, self.out, self.progress = lab, planned, out, progress
        few_arenas()
        self.workers, self.costs = Workers(), Costs()
        self._pcap = pcap
        self._balance: dict[str, Any] = {}

    def run(self) -> Path:
        """1 folder, 2 sources, 3 load, 4 schedule, 5 end of load and sources, 6 documents, 7 manifest."""
        self.out.mkdir(parents=True, exist_ok=True)  # 1
        facts = provenance(self.lab, self.schedule)
        self._write("schedule.json", self.schedule.as_dict())
        self._write("provenance.json", facts | {"complete": False})
        self.progress("starting the sources")
        with contextlib.ExitStack() as ending:
            with served_first():
                self._open(ending)  # 2
            with self._load() as load:  # 3
                acts = Acts(self.schedule, self._runner(load), self.progress)
                origin_ns = self._act(acts)  # 4
            end_ns = time.time_ns()
            self.progress("ending the sources")
            self._end(end_ns)  # 5
        window = {"begin_ns": self.begin_ns, "origin_ns": origin_ns, "end_ns": end_ns}
        self._documents(acts, facts | {"complete": True, "window": window})  # 6
        write_manifest(self.out)  # 7
        return self.out

    # ---- sources

    def _open(self, ending: contextlib.ExitStack) -> None:
        """Make every source, then start them; whatever fails, those that were opened are closed."""
        self.begin_ns = time.time_ns()
        self.streams = {name: Stream(self.out / name, columns) for name, columns in STREAMS.items()}
        for stream in self.streams.values():
            stream.begin(self.begin_ns)
            ending.callback(stream.close)
        ending.callback(self.workers.join, 2.0)
        self.entities = Entities(self.out / "addresses.jsonl")
        ending.callback(self.entities.close)
        self.entities.add_fixed(fixed_entities(self.lab))
        self._open_receivers(ending)
        self._open_flows(ending)
        pods = PodTargets()
        self.objects = Objects(self.lab.api, self.streams["objects"], self.streams["events"], self.workers)
        self.objects.listeners += [self.entities.changed, pods.changed, self.flows.changed]
        self.objects.start()
        self.logs = Logs(log_folders(dict(self._by_node("folder"))), self.streams["logs"], self.workers)
        self.logs.start()
        Metrics(self.streams["metrics"], self.workers, self._targets(), pods).start()
        self.packets = self._packets(ending)
        self.workers.spawn("tick", self._write_on)

    def _write_on(self) -> None:
        """Not in the main thread: it has no priority, and who waits for a stream's lock would wait for it."""
        while not self.workers.pause(TICK_S):
            for stream in self.streams.values():
                stream.tick()

    def _open_receivers(self, ending: contextlib.ExitStack) -> None:
        lab = self.lab
        self.audit = Audit(lab.control_netns, lab.api_log, self.streams["audit"], self.workers)
        ending.callback(self.audit.close)
        self.traces = Traces(lab.host_address, self.streams["traces"])
        ending.callback(self.traces.stop)
        self.audit.start(self.begin_ns)
        self.traces.start()

    def _open_flows(self, ending: contextlib.ExitStack) -> None:
        from loomidi.loom.flows.links import LIVE, LinkMeters

        wanted = [(node.netns, pattern) for node in self.lab.nodes for pattern in PATTERNS]
        meters = LinkMeters(wanted, dataclasses.replace(LIVE, ring_mib=RING_MIB), batches=QUEUE)
        ending.callback(meters.close)
        names = {netns: name for name, netns in self._by_node("netns")}
        self.flows = Flows(meters, names, self.lab.links, self.streams["flows"], self.workers)
        self.observer = Observer(self.lab, lag_s=LIVE.idle_s + 1.0)
        self.flows.listeners.append(self._observe)
        self.flows.start()

    def _observe(self, link: LinkId, batch: pa.RecordBatch) -> None:
        """Symptoms look at what is metered anyway."""
        self.observer.window.absorb((link.netns, link.name), batch)

    def _packets(self, ending: contextlib.ExitStack) -> Packets | None:
        if not self._pcap:
            return None
        packets = Packets(self.lab.start, dict(self._by_node("netns")), self.out / PCAP, self.lab.folder / "logs")
        ending.callback(packets.stop)
        packets.start()
        return packets

    def _by_node(self, what: str) -> Iterator[tuple[str, Any]]:
        return ((node.name, getattr(node, what)) for node in self.lab.nodes)

    def _targets(self) -> list[Target]:
        """What is scraped whatever pods there are."""
        targets = [Target("host", "host", nodes.host)]
        for node in self.lab.nodes:
            path = f"/api/v1/nodes/{node.name}/proxy/metrics/cadvisor"
            targets.append(Target("cadvisor", node.name, _text(self.lab, path), CADVISOR_EVERY_S))
            targets.append(Target("node", node.name, _figures(node.netns, f"{self.lab.place.cgroup}/{node.name}")))
        return targets

    # ---- the schedule

    def _load(self) -> contextlib.AbstractContextManager[Load]:
        return begin_load(self.lab, self.schedule, self.streams["requests"], self.workers)

    def _runner(self, load: Load) -> RunOne:
        def run_one(item: Item, at: float, say: Say, ending: threading.Event) -> Mapping[str, Any]:
            drawn = staging.draw(staging.load(item.scenario), item.seed)
            found = staging.run(self.lab, drawn, at=at, observer=self.observer, shop=load.shop, say=say, ending=ending)
            return found.as_dict()

        return run_one

    def _act(self, acts: Acts) -> int:
        """Until the schedule is over and every run has ended. Whatever ends it early, runs are taken back first."""
        time.sleep(SETTLE_S)
        origin, origin_ns = time.monotonic(), time.time_ns()
        self.progress(f"recording for {self.schedule.plan.length_s:.0f} s, {len(self.schedule.items)} scenarios")
        try:
            while acts.step(origin):
                self._tick(acts)
                if acts.late(origin):
                    raise EnvironmentLacks("a scenario did not end long after the schedule; see `loomidi-lab sweep`")
        except BaseException:
            left = acts.cut_off()
            if left:
                self.progress(f"not taken back in time: {', '.join(left)}; run `loomidi-lab sweep`")
            raise
        return origin_ns

    def _tick(self, acts: Acts) -> None:
        time.sleep(TICK_S)
        self.costs.tick()
        for name, error in [*self.workers.failures, *acts.failures]:
            if isinstance(error, LoomidiError):
                raise error
            raise EnvironmentLacks(f"recording {name} failed: {type(error).__name__}: {error}") from error

    # ---- the end

    def _end(self, end_ns: int) -> None:
        """Late rows of the window still come for `DRAIN_S`; then each source reads to its end."""
        for name, stream in self.streams.items():
            if name != "flows":  # flows that are cut by the end end at it
                stream.end(end_ns)
        self.audit.end(end_ns)
        time.sleep(DRAIN_S)
        self.costs.tick()
        self.workers.join(2.0)
        links = self.flows.stop()
        self.traces.stop()
        self.audit.stop()
        self.logs.stop()
        if self.packets is not None:
            self._balance[PCAP] = self.packets.stop()
        self._balance["links"] = links
        self._balance["watch"] = self.objects.notes_of()
        self._balance["recorder"] = self.costs.as_dict()

    def _documents(self, acts: Acts, facts: Mapping[str, Any]) -> None:
        """After the streams are closed, so that their balances are final."""
        streams = {name: stream.balance.as_dict() for name, stream in self.streams.items()}
        self._write("balance.json", {"streams": streams} | self._balance)
        self._write("truth.json", {"planned": self.schedule.planned(), "measured": acts.measured()})
        parquet.write_table(self.entities.table(), self.out / "entities.parquet", compression="zstd")
        self._write("provenance.json", facts)

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        partial = self.out / f".{name}.part"
        partial.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(self.out / name)


def _text(lab: "Lab", path: str) -> Callable[[], str]:
    return lambda: lab.api.text(path)


def _figures(netns: str, cgroup: str) -> Callable[[], str]:
    return lambda: nodes.node(netns, cgroup)
