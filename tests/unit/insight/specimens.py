"""Hand-made records for the tests of `insight`: one finding, its fold, its receipts, a small report."""

from loomidi.contracts.records import (
    BlastRadius,
    Entity,
    Evidence,
    Finding,
    FoldKind,
    FoldSpec,
    Match,
    Mode,
    Plan,
    Receipt,
    Severity,
    Step,
    Verdict,
)
from loomidi.insight.report import (
    Balance,
    CaptureRead,
    FlowTotals,
    Link,
    ProposedFold,
    Report,
    Series,
    Talker,
)

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000

FINDING = Finding(
    id="finding-0123456789abcdef",
    pattern="vertical_scan",
    techniques=("T1046",),
    severity=Severity.MEDIUM,
    confidence=0.93,
    entities=("host/192.0.2.7", "host/198.51.100.1"),
    first_ns=T0,
    last_ns=T0 + 4 * SECOND,
    evidence=(
        Evidence("ports", 1000, 30, "", "distinct ports that were tried"),
        Evidence("octets_sent", 60_000, None, "octets"),
    ),
    source="origami.online.flows",
    explanation="What was seen: a scan.",
)
FOLD = FoldSpec(
    FoldKind.RECONFIGURE_NETWORK,
    "host/192.0.2.7",
    "drop",
    Match(source="192.0.2.7"),
    ttl_s=300.0,
    because=FINDING.id,
    manifest={
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "loomidi-drop"},
        "spec": {"podSelector": {}},
    },
    undo="Remove 192.0.2.7 from the shield.",
)
RADIUS = BlastRadius(1, 1000, 2000, 60_000, 0.25)
PLAN = Plan("plan-1", FINDING, FOLD, RADIUS, Mode.SHADOW, T0, T0 + 60 * SECOND)
ALLOWED = (Verdict("floor", "ttl", True, ""), Verdict("rego:base", "aimed", True, ""))
REFUSED = (Verdict("floor", "ttl", True, ""), Verdict("rego:base", "aimed", None, "no answer: late"))


def receipts() -> tuple[Receipt, ...]:
    """The chain of a fold that was applied, verified and undone."""
    steps = (
        (Step.INTENT, {}),
        (Step.APPLIED, {}),
        (Step.VERIFIED, {"holds": True, "dropped": 1234}),
        (Step.UNDONE, {}),
    )
    return tuple(
        Receipt(f"receipt-{at}", PLAN.id, step, T0 + at * SECOND, "xdp", {}, detail, f"receipt-{at - 1}")
        for at, (step, detail) in enumerate(steps)
    )


def report(
    *, findings: tuple[Finding, ...] = (FINDING,), path: str = "office.pcap", problems: tuple[str, ...] = ()
) -> Report:
    """A small capture with a scan in it."""
    packets = tuple(10 + 5 * (at % 7) + (200 if 60 <= at < 80 else 0) for at in range(120))
    totals = FlowTotals(1200, sum(packets), 240_000, T0, T0 + 12 * SECOND)
    names = dict.fromkeys(entity for finding in findings for entity in finding.entities)
    links = [Link("host/192.0.2.7", "host/198.51.100.1", 1000, 2000, 60_000, 1000, ("22/tcp", "23/tcp"))]
    links += [Link(f"host/10.0.0.{at}", "host/10.0.0.100", 20, 400, 9000 * at, 1, ("443/tcp",)) for at in range(1, 12)]
    return Report(
        captures=(CaptureRead(path, 250_000, problems),),
        flows=totals,
        series=Series(T0, SECOND // 10, {"tcp": packets, "udp": (1,) * 120}, tuple(60 * p for p in packets)),
        findings=findings,
        beyond={"findings": 0, "hosts": 0, "edges": 0, "detector_rows": 0, "flows": 0},
        folds=tuple(ProposedFold(FOLD, PLAN, ALLOWED, True) for _ in findings[:1]),
        entities=tuple(Entity(name, name.partition("/")[0], name.partition("/")[2]) for name in names),
        entity_count=60,
        links=tuple(links),
        hosts_not_shown=(0, 0, 0),
        talkers=tuple(Talker(f"host/10.0.0.{at}", 20, 400, 9000 * at, 20, 1) for at in range(11, 0, -1)),
        protocols={"tcp": totals},
        balance=Balance(
            {"accounted": (totals.packets, 240_000), "unparsed_not_ip": (3, 180)}, totals.packets + 3, True
        ),
        version="0.1.0",
    )
