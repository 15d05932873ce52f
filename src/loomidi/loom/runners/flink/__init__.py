"""The window operators as a PyFlink DataStream job: for where one process is too small.

Called by `services` and `loomidi run --runner flink`. In: `FlinkSettings`. Out: `submit` starts the job and gives its
process. PyFlink lives in an environment of its own (`make flink-tools`), so nothing here imports it but the modules
that run there: `job`, `functions`, `connecting`.
"""

from loomidi.loom.runners.flink.settings import FlinkSettings
from loomidi.loom.runners.flink.submitting import Submitted, submit

__all__ = ["FlinkSettings", "Submitted", "submit"]
