"""Where a tool for the outside namespace is found: on the host, else in the attacker image's root.

Called by `steps.outside`. In: a step's arguments. Out: a prefix for its command. Raises EnvironmentLacks when there is
no such tool.
"""

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import EnvironmentLacks

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab


def prefix(_lab: "Lab", arguments: Mapping[str, Any]) -> list[str]:
    """Nothing for what the host has; else a change of root."""
    if "program" in arguments or shutil.which(str(arguments.get("command", [""])[0])):
        return []
    raise EnvironmentLacks(f"{arguments['command'][0]} is not installed; run: apt-get install it")
