"""Kubernetes clusters of real nodes on one Linux machine, without Docker.

Called by `loomidi-lab`, shop, scenarios, recorder and tests. `up` and `down` make and remove a lab, `Lab.open` gives a
handle on one that is up.
"""

from loomidi_lab.cluster.api import Api, ApiError, ApiRefused
from loomidi_lab.cluster.building import build
from loomidi_lab.cluster.handle import Lab, Node
from loomidi_lab.cluster.links import Link
from loomidi_lab.cluster.raising import UpSettings, down, up

__all__ = ["Api", "ApiError", "ApiRefused", "Lab", "Link", "Node", "UpSettings", "build", "down", "up"]
