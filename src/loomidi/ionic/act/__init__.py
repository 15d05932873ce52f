"""Carrying approved plans out, with a receipt for every step and a way back."""

from loomidi.ionic.act.chain import ChainCheck
from loomidi.ionic.act.drivers import BehindFence, DryRunDriver, ShieldDriver, ThresholdDriver
from loomidi.ionic.act.engine import FAULTS, Acted, Engine
from loomidi.ionic.act.fencing import Fence
from loomidi.ionic.act.leases import Lease
from loomidi.ionic.act.receipts import FILE_NAME, MemoryReceipts, SqliteReceipts

__all__ = [
    "FAULTS",
    "FILE_NAME",
    "Acted",
    "BehindFence",
    "ChainCheck",
    "DryRunDriver",
    "Engine",
    "Fence",
    "Lease",
    "MemoryReceipts",
    "ShieldDriver",
    "SqliteReceipts",
    "ThresholdDriver",
]
