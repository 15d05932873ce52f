"""Counts the packets of flows on their way to the detectors, so that the accounts can be compared with the shield's.

Called by the defender and the replay, in the place of the flow detectors. In: flow batches. Out: sums. Detects nothing
itself.
"""

from collections import Counter
from typing import Any

import pyarrow as pa

from loomidi.origami.online import FlowDetectors


class Tally:
    """Counts the packets of every flow that was exported, in all and by source, on their way to the detectors."""

    def __init__(self, detectors: FlowDetectors) -> None:
        self._detectors = detectors
        self.flows = self.packets = 0
        self.by_source: Counter[str] = Counter()

    def observe(self, batch: pa.RecordBatch) -> Any:
        """Count, then detect."""
        self.count(batch)
        return self._detectors.observe(batch)

    def look(self) -> Any:
        """What the detectors have so far."""
        return self._detectors.look()

    def count(self, batch: pa.RecordBatch) -> None:
        """Add one batch."""
        import pyarrow.compute as pc

        both = pc.add(batch.column("packet_delta_count"), batch.column("reverse_packet_delta_count"))
        self.flows += batch.num_rows
        self.packets += pc.sum(both).as_py() or 0
        table = pa.table({"source": batch.column("source_ip_address"), "packets": both})
        sums = table.group_by("source").aggregate([("packets", "sum")])
        self.by_source.update(dict(zip(sums["source"].to_pylist(), sums["packets_sum"].to_pylist(), strict=True)))
