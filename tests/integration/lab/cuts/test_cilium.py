"""The same where Cilium owns the links: our programs come before its own, and its policies stay as they are."""

from collections.abc import Iterator

import pytest

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.cluster import Lab, UpSettings, down, raising, up
from tests.integration.lab.cuts.rooms import Site, cut_and_back, eventually
from tests.rungs import ran

pytestmark = pytest.mark.lab_long
NAME, SPACE = "testcut", "cuts"


@pytest.fixture(scope="module")
def site(buildable: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    try:
        raising.check(UpSettings(name=NAME, network="cilium"))
    except LoomidiError as error:
        pytest.skip(f"no Cilium here: {error}")
    down(NAME)
    up(UpSettings(name=NAME, network="cilium"))
    lab = Lab.open(NAME)
    ran("Cilium", "two nodes")
    try:
        lab.kubectl("create", "namespace", SPACE)
        account = f"/api/v1/namespaces/{SPACE}/serviceaccounts/default"
        eventually(lambda: lab.api.exists(account), "the default service account", 30)
        site = Site(lab, SPACE, tmp_path_factory.mktemp("site"))
        site.establish()
        yield site
    finally:
        lab.close()
        down(NAME)


@pytest.mark.timeout(420)
def test_a_fold_cuts_a_pod_ahead_of_cilium_and_nobody_else(site: Site) -> None:
    with site.agents(), site.operator(), site.talking() as talks:
        cut_and_back(site, talks)
