"""The result of an analysis and its three forms: text for people, JSON for programs, one HTML page for passing on.

Called by `services.analyzing` (which builds a `Report`) and `loomidi analyze` (which draws it). The renderers are
imported where they are used, because each brings a library or a page of its own:
`report.text.draw`, `report.document.document`, `report.page.page`.
"""

from loomidi.insight.report.records import (
    SEVERITIES,
    Balance,
    CaptureRead,
    FlowTotals,
    Link,
    ProposedFold,
    Report,
    Series,
    Talker,
)

__all__ = [
    "SEVERITIES",
    "Balance",
    "CaptureRead",
    "FlowTotals",
    "Link",
    "ProposedFold",
    "Report",
    "Series",
    "Talker",
]
