"""The drivers: one file each, one Protocol (`contracts.ports.Driver`), one contract suite.

A driver refuses by itself what it cannot verify; it does not trust the engine that calls it.
"""

from loomidi.ionic.act.drivers.behind import BehindFence
from loomidi.ionic.act.drivers.dry_run import DryRunDriver
from loomidi.ionic.act.drivers.shield import ShieldDriver
from loomidi.ionic.act.drivers.thresholds import ThresholdDriver

__all__ = ["BehindFence", "DryRunDriver", "ShieldDriver", "ThresholdDriver"]
