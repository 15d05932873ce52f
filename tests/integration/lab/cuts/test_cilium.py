"""The same where Cilium owns the links: our programs come before its own, and its policies stay as they are.

And what Cilium itself is asked for: one source denied, from outside and by its labels, told by packets.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from loomidi.contracts import Match
from loomidi.contracts.errors import LoomidiError
from loomidi.ionic.decide import manifests
from loomidi_lab.cluster import Lab, UpSettings, cilium, down, raising, up
from tests.integration.lab.cuts.rooms import PODS, Site, Talk, cut_and_back, eventually
from tests.rungs import ran

pytestmark = pytest.mark.lab_long
NAME, SPACE = f"{os.environ.get('LOOMIDI_TEST_LAB', 'test')}cut", "cuts"
USER, ATTACKER = "203.0.113.10", "198.51.100.10"  # two addresses of the outside
CILIUM = f"/apis/cilium.io/v2/namespaces/{SPACE}/ciliumnetworkpolicies"


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


@pytest.fixture
def awake(site: Site) -> None:
    """Cilium's endpoint of the target follows policies. It does not for a minute and a half after a label that came and
    went at once, as the isolation's of the test before (docs/kube-driver.md, Limits)."""
    node = site.lab.node(PODS["target"]).number

    def ready() -> bool:
        told = [one["status"] for one in cilium.ask(site.lab.site, node, "/v1/endpoint")]
        return [one["state"] for one in told if f"{SPACE}/target" in str(one["external-identifiers"])] == ["ready"]

    eventually(ready, "Cilium's endpoint of the target is ready", 240)


def all_but(source: str) -> dict[str, Any]:
    """As our proposals have it: a NetworkPolicy that lets everything in to the target but one address."""
    policy = manifests.network_policy("loomidi-drop", "ingress", [source], {"loomidi.io/action": "drop"})
    policy["metadata"]["namespace"], policy["spec"]["podSelector"] = SPACE, {"matchLabels": {"app": "target"}}
    return policy


@pytest.mark.timeout(420)
@pytest.mark.usefixtures("awake")
def test_a_fold_has_cilium_cut_one_outside_source_and_nobody_else(site: Site) -> None:
    attacker, user = site.asking(ATTACKER, "target"), site.asking(USER, "target")
    with site.operator(agents=False), site.talking() as talks:
        eventually(lambda: attacker() and user(), "both outside addresses are answered")
        plan, status = site.granted(lambda: site.deny(ATTACKER, manifest=all_but(ATTACKER)))
        (made,) = site.lab.api.list(CILIUM)
        eventually(lambda: not attacker(), "the attacker is cut off")
        assert user()
        for talk in talks.values():
            talk.goes_on()
        assert not attacker()
        site.release(plan)
        site.reaches(plan, "Released")
        eventually(attacker, "the attacker is answered again")
    assert made["spec"]["ingressDeny"] == [{"fromCIDRSet": [{"cidr": f"{ATTACKER}/32"}]}]
    assert f"CiliumNetworkPolicy {SPACE}/loomidi-drop (Cilium runs here)" in str(status["verdicts"])
    assert site.lab.api.list(CILIUM) == []


@pytest.mark.timeout(420)
@pytest.mark.usefixtures("awake")
def test_a_pod_is_cut_off_by_its_labels_and_its_neighbour_is_not(site: Site) -> None:
    spec = {
        "endpointSelector": {"matchLabels": {"app": "target"}},
        "enableDefaultDeny": {"ingress": False, "egress": False},
        "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"app": "far"}}]}],
    }
    metadata = {"name": "deny-far", "namespace": SPACE}
    manifest = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata, "spec": spec}
    far = site.addresses["far"]
    with site.operator(agents=False), site.talking() as talks:
        given = {"match": Match(source=far), "manifest": manifest, "means": "cilium"}
        plan, _ = site.granted(lambda: site.deny(far, **given))
        eventually(lambda: silent(talks["far->target"]), "far gets no answers")
        for name in ("beside->target", "beside->far", "far->other"):
            talks[name].goes_on()
        site.release(plan)
        site.reaches(plan, "Released")
        talks["far->target"].goes_on()


@pytest.mark.timeout(420)
@pytest.mark.usefixtures("awake")
def test_a_network_policy_that_denies_one_address_would_cut_off_the_pods_of_other_namespaces(site: Site) -> None:
    """Why the driver does not choose it here: to Cilium an `ipBlock` is outside the cluster."""
    with site.operator(agents=False), stranger(site) as answered:
        given = {"manifest": all_but(ATTACKER), "means": "networkpolicy"}
        plan, _ = site.granted(lambda: site.deny(ATTACKER, **given))
        eventually(lambda: not answered(), "a pod of another namespace is still answered")
        site.release(plan)
        site.reaches(plan, "Released")
        eventually(answered, "a pod of another namespace is not answered again")


@contextlib.contextmanager
def stranger(site: Site) -> Iterator[Callable[[], bool]]:
    """A pod of another namespace: whether the target answers it."""
    pods = "/api/v1/namespaces/default/pods"
    asking = "import urllib.request as web; web.urlopen('http://{}:8080', timeout=1)"
    container = {"name": "main", "image": "lab.loomidi.io/base:1", "command": ["sleep", "infinity"]}
    spec = {"nodeName": "n1", "terminationGracePeriodSeconds": 0, "containers": [container]}
    site.lab.api.post(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger"}, "spec": spec})
    words = ("exec", "-n", "default", "stranger", "--", "python3", "-c", asking.format(site.addresses["target"]))

    def answered() -> bool:
        return site.lab.kubectl(*words, check=False).returncode == 0

    try:
        eventually(answered, "the target does not answer a pod of another namespace", 60)
        yield answered
    finally:
        site.lab.api.delete(f"{pods}/stranger")


def silent(talk: Talk) -> bool:
    """Whether no answer comes for half a second."""
    before = talk.answers()
    time.sleep(0.5)
    return talk.answers() == before
