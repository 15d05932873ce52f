"""What tests of look-alikes and failures share: how long the shop may take to be whole, and what a good run is."""

from collections.abc import Callable

from loomidi_lab import staging

Run = Callable[..., staging.Occurrence]
HEALTHY_S = 150.0


def happened(found: staging.Occurrence) -> None:
    """It took hold, by every symptom."""
    assert found.void_because == ""
    assert all(symptom.confirmed for symptom in found.symptoms)
    assert found.end_ns > found.start_ns > 0
