"""What `disk-fill` leaves in a volume goes with the pods that own it.

Called by the python steps of scenario.yaml.
"""

from typing import Any

from loomidi_lab.staging.records import EntityRef


def pods_to_be_renewed(stage: Any, deployment: str) -> None:
    """Have the undo delete the pods that run now: their emptyDir goes with them, and the Deployment makes new ones."""
    for pod in stage.lookup.pods(EntityRef("Deployment", "shop", deployment)):
        stage.remember(do="delete", path=f"/api/v1/namespaces/shop/pods/{pod['metadata']['name']}")
