"""The lab: a real Kubernetes cluster without Docker, a shop that runs on it, attacks, failures, and their recorder.

Called by `loomidi-lab` (see `cli`), by tests and by notebooks: `loomidi_lab.load(DIR)` gives a recording back. The
folder `lab/` is this package. It imports loomidi and is never imported by it.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomidi_lab.recording import Recording

__all__ = ["load"]


def load(folder: str | os.PathLike[str]) -> "Recording":
    """A recording by its folder. Raises InputError when it is none."""
    from loomidi_lab.recording import load as open_recording

    return open_recording(folder)
