"""From packets to findings, as `loomidi analyze` does it: write a capture, meter it, detect."""

from collections.abc import Iterable
from pathlib import Path

from loomidi.contracts import Finding, Severity
from loomidi.loom.capture.synthetic import Packet, write_capture
from loomidi.loom.flows import meter
from loomidi.origami.online import FlowDetectors


def findings_of(capture: Path) -> list[Finding]:
    """All findings of one capture file."""
    detectors = FlowDetectors()
    with meter([capture]) as stream:
        found = [finding for batch in stream for finding in detectors.observe(batch)]
    return found + detectors.finish()


def replay(packets: Iterable[Packet], folder: Path) -> list[Finding]:
    """All findings of packets made by a scenario."""
    capture = folder / "replay.pcap"
    write_capture(capture, packets, snaplen=128)
    return findings_of(capture)


def serious(findings: Iterable[Finding]) -> list[Finding]:
    """Those above `info`."""
    return [finding for finding in findings if finding.severity is not Severity.INFO]
