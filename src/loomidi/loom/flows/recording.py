"""Flows of a meter as records of the bus and the lake.

Called by the agent, replay and the ingestion API. In: a batch of the schema `FLOWS`, where it was seen. Out: the same
rows in the schema `FLOW_RECORDS`, names still unknown. Costs no copy of the columns that were there.
"""

import pyarrow as pa

from loomidi.contracts.schemas import FLOW_RECORDS, FLOWS


def as_records(batch: pa.RecordBatch, *, exporter: str, link: str, sampling_interval: int = 1) -> pa.RecordBatch:
    """Say of every row who metered it and where; names are null. Raises ValueError for other columns."""
    if batch.schema.names != FLOWS.names:
        raise ValueError("not a batch of flows: its columns are not those of `FLOWS`")
    rows = batch.num_rows
    fixed = {"exporter": exporter, "link": link, "sampling_interval": sampling_interval}
    added = [
        pa.repeat(pa.scalar(fixed[field.name], field.type), rows) if field.name in fixed else pa.nulls(rows, field.type)
        for field in list(FLOW_RECORDS)[len(FLOWS) :]
    ]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=FLOW_RECORDS)
