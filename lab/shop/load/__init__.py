"""Open-loop load on the shop: users, journeys, a day's curve, bursts, all drawn from a seed.

Called by the verbs, the recorder and scenarios: `Load(lab, shop, LoadProfile(...), seed, out).start()` and `.stop()`.
"""

from loomidi_lab.shop.load.driving import Load
from loomidi_lab.shop.load.profiles import LoadProfile
from loomidi_lab.shop.load.summaries import LoadSummary

__all__ = ["Load", "LoadProfile", "LoadSummary"]
