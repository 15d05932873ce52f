"""The lake: streams as Iceberg tables, written exactly once, kept small, read as of any moment.

Called by `services`, runners and `loomidi lake`. In: settings, messages of the bus. Out: snapshots, rows, SQL. The
parts: `committing` (bus to table), `compacting`, `expiring`, `sweeping` (keep it small), `querying` (DuckDB).
"""

from loomidi.loom.lake.committing import Committed, Committer, Taken
from loomidi.loom.lake.compacting import Compacted, compact
from loomidi.loom.lake.expiring import Expired, expire
from loomidi.loom.lake.faults import LakeAway, LakeFull
from loomidi.loom.lake.lakes import Lake, SnapshotSeen
from loomidi.loom.lake.marks import Held
from loomidi.loom.lake.querying import Query
from loomidi.loom.lake.settings import LakeSettings
from loomidi.loom.lake.sweeping import Swept, sweep
from loomidi.loom.lake.tables import TableSpec, streams, table_of

__all__ = [
    "Committed",
    "Committer",
    "Compacted",
    "Expired",
    "Held",
    "Lake",
    "LakeAway",
    "LakeFull",
    "LakeSettings",
    "Query",
    "SnapshotSeen",
    "Swept",
    "TableSpec",
    "Taken",
    "compact",
    "expire",
    "streams",
    "sweep",
    "table_of",
]
