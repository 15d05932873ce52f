"""Flow metering: packets or kernel drains to Arrow batches of the schema `FLOWS`."""

from loomidi.loom.flows.settings import MeterSettings
from loomidi.loom.flows.streaming import FlowStream, Problem, meter
from loomidi.loom.flows.tables import FlowTable

__all__ = ["FlowStream", "FlowTable", "MeterSettings", "Problem", "meter"]
