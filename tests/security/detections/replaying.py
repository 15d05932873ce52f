"""From packets to findings: write a capture, meter it and detect, as `loomidi analyze` does it; and what its frames say
of neighbours, as the fast lane hears it."""

from collections.abc import Iterable
from pathlib import Path

from loomidi.contracts import Finding, Severity
from loomidi.loom.capture.neighbours import word_of
from loomidi.loom.capture.synthetic import Packet, write_capture
from loomidi.loom.flows import meter
from loomidi.origami.online import FlowDetectors, Neighbours
from tests.security.detections.frames import frames

LOOK_NS = 1_000_000_000


def findings_of(capture: Path) -> list[Finding]:
    """All findings of one capture file."""
    detectors = FlowDetectors()
    with meter([capture]) as stream:
        found = [finding for batch in stream for finding in detectors.observe(batch)]
    return found + detectors.finish() + said_of_neighbours(capture)


def said_of_neighbours(capture: Path) -> list[Finding]:
    """What the frames of a capture say, heard from its first to its last and a minute after."""
    neighbours, found, due = Neighbours(), [], 0
    for at_ns, frame in frames(capture):
        word = word_of(frame, at_ns)
        found += neighbours.observe([word] if word else [])
        if at_ns >= due:
            found += neighbours.look(at_ns)
            due = at_ns + LOOK_NS
    return found + neighbours.look(due + 60 * LOOK_NS)


def replay(packets: Iterable[Packet], folder: Path) -> list[Finding]:
    """All findings of packets made by a scenario."""
    capture = folder / "replay.pcap"
    write_capture(capture, packets, snaplen=128)
    return findings_of(capture)


def serious(findings: Iterable[Finding]) -> list[Finding]:
    """Those above `info`."""
    return [finding for finding in findings if finding.severity is not Severity.INFO]
