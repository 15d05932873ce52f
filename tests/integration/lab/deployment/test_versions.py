"""Every manifest that the chart can make is one of Kubernetes 1.33 to 1.37, by what these versions publish."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.helm import charts
from tests.integration.helm.charts import EVERYTHING, SHIPPED, rendered
from tests.integration.lab.deployment.schemas import OTHERS, VERSIONS, Published

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(900)]
GIVEN: Mapping[str, tuple[Mapping[str, Any], tuple[Path, ...]]] = {
    "as it comes": ({}, ()),
    "everything": (EVERYTHING, ()),
    **{path.name: ({}, (path,)) for path in SHIPPED},
}


@pytest.fixture(scope="module", params=VERSIONS)
def published(request: pytest.FixtureRequest) -> Published:
    if why := charts.lacking():
        pytest.skip(f"no helm here: {why}")
    if not shutil.which("go"):
        pytest.skip("the published schemas are fetched by Go, which is missing")
    try:
        return Published(request.param)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the sources of Kubernetes {request.param} cannot be had: {error.stderr or error.stdout}"[:300])


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_rendered_is_valid(published: Published, name: str) -> None:
    values, files = GIVEN[name]
    objects = [one for one in rendered(values, *files) if one["apiVersion"] not in OTHERS]
    assert len(objects) > 20
    assert [problem for one in objects for problem in published.problems(one)] == []


def test_what_is_not_valid_is_seen(published: Published) -> None:
    (bad,) = (one for one in rendered({}) if one["kind"] == "DaemonSet")
    bad["spec"]["template"]["spec"]["hostNetwork"] = "yes"
    bad["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    told = published.problems(bad)
    assert len(told) == 2
    assert any("'resource' was unexpected" in line for line in told)
