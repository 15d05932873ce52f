"""Step `python`: a function of the scenario's own `act.py`, for what the other kinds cannot say.

`act.py` defines `def name(stage, **with_)`; it calls `stage.remember` before each effect, as steps do.
"""

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Call it, or start it beside the next steps."""
    path = stage.folder / "act.py"
    spec = importlib.util.spec_from_file_location(f"act_{stage.folder.name.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, arguments["call"], None)
    if not callable(function):
        raise InputError(f"{path.parent.name}/act.py defines no function {arguments['call']}")
    if arguments.get("background"):
        stage.background(arguments["call"], lambda: function(stage, **arguments.get("with", {})))
    else:
        function(stage, **arguments.get("with", {}))
