"""Loomidi: from packets to an explained, reversible block.

Called by programs that `import loomidi`; the command line is `loomidi.conductor`. The houses are imported when a
function is called, so that `import loomidi` costs nothing.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from loomidi.insight.report import Report

__all__ = ["__version__", "analyze", "meter"]
__version__ = "0.1.0"


def analyze(*captures: str | os.PathLike[str]) -> "Report":
    """What the captures show: flows, entities, findings, proposed folds, explained. Nothing is applied.

    Raises loomidi.contracts.InputError for a capture that is not there; one that ends badly is reported as far as it
    goes, with the cause in `Report.problems`.
    """
    from loomidi.services import analyzing

    return analyzing.analyze(captures)


def meter(*captures: str | os.PathLike[str]) -> "pa.RecordBatchReader":
    """Flow records of the captures (columns: docs/flow-features.md), read on only when the next batch is asked for.

    Raises loomidi.contracts.InputError for a capture that is not there, and after the last readable batch for one that
    ends badly.
    """
    import pyarrow as pa

    from loomidi.contracts.errors import InputError
    from loomidi.loom import flows

    stream = flows.meter(captures)

    def batches() -> Iterator[pa.RecordBatch]:
        with stream:
            yield from stream
        if stream.problems:
            raise InputError("; ".join(f"{problem.source}: {problem.message}" for problem in stream.problems))

    return pa.RecordBatchReader.from_batches(stream.schema, batches())
