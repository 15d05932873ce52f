"""The shop's page names every service, setting, release and metric."""

import re
from pathlib import Path

import pytest

from loomidi_lab.shop import workloads
from loomidi_lab.shop.app import releases

SHOP = Path(workloads.__file__).parent
PAGE = (SHOP / "README.md").read_text()
SOURCES = "\n".join(path.read_text() for path in sorted((SHOP / "app").glob("*.py")))


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("settings", re.findall(r'env\.(?:text|number|whole|url)\("([A-Z_]+)"', SOURCES)),
        ("metrics", re.findall(r'(?:Counter|Gauge|Histogram)\(\s*"(shop_[a-z_]+)"', SOURCES)),
        ("releases", [name for name in releases.NAMES if name != "1.0"]),
        ("services", [workload.name for workload in workloads.WORKLOADS]),
        ("settings of the ConfigMap", [name for name in workloads.DEFAULTS if not name.startswith("P")]),
    ],
)
def test_nothing_is_missing(what: str, names: list[str]) -> None:
    assert len(names) > 5
    assert [name for name in names if name not in PAGE] == [], what
