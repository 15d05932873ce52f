"""report: the nightly job. Reads the orders, writes one report into the database and one line into the log.

Started by a CronJob; ends with 0 when the report is written.
"""

import asyncio
import json
import os
import time

from loomidi_lab.shop.app import schema, tracing
from loomidi_lab.shop.app.logs import log
from loomidi_lab.shop.app.starting import Frame
from loomidi_lab.shop.app.stores import Database, PoolExhausted, StoreDown

_TRIES, _PAUSE_S = 10, 2.0  # the night is long, but not without end
_TOTALS = """SELECT count(*) AS orders, count(*) FILTER (WHERE status = 'sent') AS paid,
  coalesce(sum(total_cents), 0) AS total_cents FROM orders"""
_BEST = """SELECT i.sku, p.category, sum(i.quantity) AS pieces, sum(i.quantity * i.price_cents) AS cents
  FROM order_items i JOIN products p USING (sku) GROUP BY 1, 2 ORDER BY 4 DESC, 1"""
_ALL = "SELECT id, visitor, created, total_cents, status FROM orders ORDER BY id DESC LIMIT 20000"
_WRITE = "INSERT INTO reports (orders, paid, total_cents, document) VALUES ($1, $2, $3, $4) RETURNING id"


async def _connect(database: Database) -> None:
    for left in reversed(range(_TRIES)):
        try:
            await schema.migrate(database)
            return
        except StoreDown:
            if not left:
                raise
            await asyncio.sleep(_PAUSE_S)


async def run(frame: Frame) -> int:
    """Write one report; the exit code."""
    database = frame.database()
    started = time.monotonic()
    try:
        with frame.tracer.span("report", tracing.INTERNAL):
            await _connect(database)
            totals = (await database.fetch("totals", _TOTALS))[0]
            best = await database.fetch("best", _BEST)
            rows = await database.fetch("all", _ALL)  # the export that the accountants want: a large read on purpose
            document = {"best": [{**b, "pieces": int(b["pieces"]), "cents": int(b["cents"])} for b in best[:20]]}
            values = (int(totals["orders"]), int(totals["paid"]), int(totals["total_cents"]), json.dumps(document))
            number = (await database.fetch("report", _WRITE, *values))[0]["id"]
    except (StoreDown, PoolExhausted) as error:
        log("error", "report not written", reason=str(error))
        return 1
    await database.close()
    took = round(time.monotonic() - started, 3)
    log("info", "report written", report=number, rows=len(rows), took_s=took, job=os.environ.get("POD_NAME", ""))
    return 0
