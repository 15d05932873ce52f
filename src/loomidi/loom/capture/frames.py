"""One frame of a capture or of a link, as a record.

Called by `twin` (which reads captures) and `meters` (which keeps the last frames of a link).
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a capture."""

    octets: bytes  # as captured
    wire_octets: int
    link: int  # LINKTYPE_
    at_ns: int  # epoch
