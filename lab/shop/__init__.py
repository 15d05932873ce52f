"""The application that the lab watches over: `deploy` it, `wait_ready`, load it, `remove` it.

Called by the lab's verbs, scenarios, recorder and tests. The services themselves are in `app` and run in pods. Names
are imported when asked for: the plain modules below are also used where no cluster is.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loomidi_lab.shop.deploying import Pod, Shop, deploy, find
    from loomidi_lab.shop.manifests import Wishes

__all__ = ["Pod", "Shop", "Wishes", "deploy", "find"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(name)
    import importlib

    where = "manifests" if name == "Wishes" else "deploying"
    return getattr(importlib.import_module(f"loomidi_lab.shop.{where}"), name)
