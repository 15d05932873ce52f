"""Which folds fit a finding: gentlest first, never against sources that may be forged, each complete."""

import re
from typing import Any

import pytest

from loomidi.contracts import Evidence, FoldKind, Severity
from loomidi.ionic.decide import propose
from loomidi.ionic.decide.places import Place, place
from loomidi.ionic.decide.proposing import RECIPES
from loomidi.origami.online import FAILURES, PATTERNS
from tests.unit.ionic.making import SERVICE, SOURCE, a_finding

FLOODS = ("syn_flood", "udp_flood", "icmp_flood", "ip_flood", "tcp_flag_flood", "amplification")
ONE_SOURCE = ("vertical_scan", "horizontal_scan", "brute_force")
OWN, FAR = "host/10.0.0.5", "host/198.51.100.9"
MANY = (Evidence("sources", 3000, 100), Evidence("syn_rate", 9000.0, 2000.0, "packets/s"))
DNS_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


def actions(pattern: str, **changes: Any) -> list[str]:
    return [fold.action for fold in propose(a_finding(pattern, **changes))]


def all_folds() -> list[Any]:
    found = [propose(a_finding(pattern)) for pattern in (*FLOODS, *ONE_SOURCE)]
    found += [propose(a_finding(pattern, entities=(SERVICE,), evidence=MANY)) for pattern in FLOODS]
    found += [propose(a_finding(pattern, entities=(OWN, FAR))) for pattern in ("beaconing", "exfiltration")]
    found += [propose(a_finding(entities=("host/2001:db8::7", "service/[2001:db8::2]:80/tcp")))]
    return [fold for folds in found for fold in folds]


def test_every_pattern_that_can_be_found_has_a_recipe() -> None:
    assert set(RECIPES) == {*PATTERNS, *FAILURES}


@pytest.mark.parametrize("pattern", [*FLOODS, *ONE_SOURCE])
def test_one_real_source_is_slowed_first_and_dropped_second(pattern: str) -> None:
    assert actions(pattern) == ["rate", "drop"]


@pytest.mark.parametrize("pattern", FLOODS)
def test_a_flood_of_many_sources_limits_the_service_and_blames_no_source(pattern: str) -> None:
    """More pods help against what pods have to answer, not against a link that is full."""
    folds = propose(a_finding(pattern, entities=(SERVICE, "host/198.51.100.1"), evidence=MANY))
    answered = pattern in ("syn_flood", "tcp_flag_flood")
    assert [fold.action for fold in folds] == ["rate", *(["scale"] if answered else [])]
    assert {fold.match.source for fold in folds} == {""}
    assert folds[0].match.destination == "10.0.0.2"


@pytest.mark.parametrize("pattern", FLOODS)
def test_a_host_named_first_is_not_blamed_when_many_sources_press_on_it(pattern: str) -> None:
    folds = propose(a_finding(pattern, entities=("host/10.0.0.2",), evidence=MANY))
    assert all(fold.match.source == "" for fold in folds)


def a_flood_from(*sources: str, counted: int | None = None) -> Any:
    evidence = (Evidence("sources", len(sources) if counted is None else counted),)
    return propose(a_finding(entities=(*(f"host/{source}" for source in sources), SERVICE), evidence=evidence))


def test_a_few_sources_close_together_are_slowed_as_the_smallest_network_of_all() -> None:
    (fold,) = a_flood_from("198.51.100.101", "198.51.100.104", "198.51.100.102", "198.51.100.103")
    assert (fold.action, fold.match.source, fold.target) == ("rate", "198.51.100.96/28", "network/198.51.100.96/28")


def test_a_crowd_whose_network_the_detector_tells_is_slowed_as_that_network() -> None:
    told = (*MANY, Evidence("source_network", "198.51.100.0/25"))
    (fold,) = propose(a_finding("udp_flood", entities=(SERVICE,), evidence=told))
    assert (fold.action, fold.target) == ("rate", "network/198.51.100.0/25")


@pytest.mark.parametrize(
    ("sources", "counted"),
    [
        (("198.51.100.1", "198.51.101.1", "198.51.100.2", "198.51.100.3"), None),  # too far apart
        (("198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"), 90),  # not all of them are named
        (("198.51.100.1", "2001:db8::1", "198.51.100.3", "198.51.100.4"), None),
    ],
)
def test_sources_that_are_many_or_far_apart_are_not_blamed(sources: tuple[str, ...], counted: int | None) -> None:
    folds = a_flood_from(*sources, counted=counted)
    assert [fold.match.source for fold in folds] == ["", ""]


def test_a_host_that_reflectors_press_on_is_not_blamed() -> None:
    folds = propose(a_finding("amplification", entities=("host/10.0.0.2", "host/198.51.100.1")))
    assert folds[0].match.destination == "10.0.0.2"
    assert {fold.match.source for fold in folds} == {""}


def test_the_limit_against_amplification_names_the_reflected_port() -> None:
    finding = a_finding("amplification", entities=(SERVICE,), evidence=(*MANY, Evidence("source_port", 53)))
    assert propose(finding)[0].match.source_port == 53


def test_a_network_is_slowed_and_never_dropped() -> None:
    assert actions("vertical_scan", entities=("network/203.0.113.0/24",)) == ["rate"]


def test_what_leaks_is_cut_off_at_the_far_end_and_then_isolated() -> None:
    exfiltration = propose(a_finding("exfiltration", entities=(OWN, FAR)))
    assert [(fold.action, fold.target) for fold in exfiltration] == [("rate", FAR), ("drop", FAR), ("isolate", OWN)]
    assert actions("beaconing", entities=(OWN, FAR)) == ["drop", "isolate"]


POD = Place("pod", "10.244.1.5", namespace="shop", name="scanner-x", labels=(("app", "scanner"),), uid="u1")
CART = Place(
    "pod", "10.244.1.6", 80, 6, "shop", "cart-0", (("app", "cart"), ("pod-template-hash", "7d9")), "cart", "u2"
)
PLACES = {"pod/shop/scanner-x": POD, "pod/shop/cart-0:80/tcp": CART, "node/n1": Place("node", "10.1.0.11", name="n1")}


def where(entity: str) -> Place:
    return PLACES.get(entity) or place(entity)


@pytest.mark.parametrize("pattern", [*ONE_SOURCE, "syn_flood"])
def test_a_pod_of_ours_that_attacks_is_isolated_by_name(pattern: str) -> None:
    (fold,) = propose(a_finding(pattern, entities=("pod/shop/scanner-x", "pod/shop/cart-0:80/tcp")), where)
    assert (fold.kind, fold.target, fold.match.source) == (FoldKind.ISOLATE_POD, "pod/shop/scanner-x", "10.244.1.5")
    metadata = fold.manifest["metadata"]
    assert metadata["namespace"] == "shop"
    assert metadata["annotations"]["loomidi.io/pod"] == "scanner-x"
    assert metadata["annotations"]["loomidi.io/pod-labels"] == "app=scanner"
    assert "kubectl label pod scanner-x -n shop loomidi.io/quarantine-" in fold.undo


def test_an_outsider_is_kept_from_the_pods_it_attacks_by_labels_that_outlive_one_of_them() -> None:
    folds = propose(a_finding("brute_force", entities=(f"host/{SOURCE}", "pod/shop/cart-0:80/tcp")), where)
    assert [fold.action for fold in folds] == ["rate", "drop"]
    assert {fold.manifest["metadata"]["namespace"] for fold in folds} == {"shop"}
    assert {str(fold.manifest["spec"]["podSelector"]) for fold in folds} == {"{'matchLabels': {'app': 'cart'}}"}
    assert all("-n shop" in fold.undo for fold in folds)


def test_a_node_with_all_its_pods_is_slowed_and_never_dropped() -> None:
    folds = propose(a_finding("vertical_scan", entities=("node/n1", "pod/shop/cart-0:80/tcp")), where)
    assert [(fold.action, fold.target) for fold in folds] == [("rate", "node/n1")]


def test_a_pod_that_many_press_on_is_limited_and_its_workload_scaled() -> None:
    folds = propose(
        a_finding("syn_flood", entities=("pod/shop/cart-0:80/tcp", "pod/shop/scanner-x"), evidence=MANY), where
    )
    assert [fold.action for fold in folds] == ["rate", "scale"]
    assert folds[0].match.destination == "10.244.1.6"
    assert folds[1].manifest["metadata"] | {"annotations": {}, "labels": {}} == {
        "name": "cart", "namespace": "shop", "labels": {}, "annotations": {},
    }  # fmt: skip


def test_a_port_of_a_node_is_limited_and_nothing_is_scaled_or_made_a_policy() -> None:
    places = {"node/n1:31356/tcp": Place("node", "10.1.0.11", 31356, 6, name="n1")}
    (fold,) = propose(a_finding("syn_flood", entities=("node/n1:31356/tcp",), evidence=MANY), places.__getitem__)
    assert (fold.action, fold.match.destination, fold.match.destination_port) == ("rate", "10.1.0.11", 31356)
    assert fold.manifest == {}
    assert fold.undo


def test_what_a_pod_leaks_is_cut_off_for_that_pod_only() -> None:
    folds = propose(a_finding("exfiltration", entities=("pod/shop/scanner-x", FAR)), where)
    assert [(fold.action, fold.target) for fold in folds][1:] == [("drop", FAR), ("isolate", "pod/shop/scanner-x")]
    assert folds[1].manifest["spec"]["podSelector"] == {"matchLabels": {"app": "scanner"}}
    assert folds[1].manifest["spec"]["policyTypes"] == ["Egress"]


def test_information_unknown_patterns_and_findings_about_nobody_lead_to_nothing() -> None:
    assert actions("syn_flood", severity=Severity.INFO) == []
    assert actions("bad_weather") == []
    assert actions("syn_flood", entities=()) == []


def test_the_rate_is_the_baseline_that_was_broken() -> None:
    assert propose(a_finding())[0].rate_pps == 200
    assert propose(a_finding(evidence=()))[0].rate_pps == 100
    assert propose(a_finding(evidence=(Evidence("r", 1.0, float("nan"), "packets/s"),)))[0].rate_pps == 100


@pytest.mark.parametrize("fold", all_folds(), ids=lambda fold: f"{fold.kind.value}-{fold.action}-{fold.target}")
def test_every_fold_ends_says_why_how_it_is_undone_and_what_object_it_becomes(fold: Any) -> None:
    metadata = fold.manifest["metadata"]
    assert fold.ttl_s > 0
    assert fold.undo
    assert fold.because == a_finding().id
    assert DNS_NAME.match(metadata["name"])
    assert len(metadata["name"]) <= 63
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "loomidi"}
    assert metadata["annotations"]["loomidi.io/finding"] == fold.because
    assert float(metadata["annotations"]["loomidi.io/ttl-seconds"]) == fold.ttl_s
    assert all(isinstance(note, str) for note in metadata["annotations"].values())


@pytest.mark.parametrize("fold", all_folds(), ids=lambda fold: f"{fold.kind.value}-{fold.action}-{fold.target}")
def test_the_object_is_of_the_kind_that_the_fold_is(fold: Any) -> None:
    kind = "Scale" if fold.kind is FoldKind.SCALE_OUT else "NetworkPolicy"
    version = "autoscaling/v1" if kind == "Scale" else "networking.k8s.io/v1"
    assert (fold.manifest["kind"], fold.manifest["apiVersion"]) == (kind, version)


def test_a_drop_becomes_all_of_both_families_except_the_source() -> None:
    blocks = propose(a_finding())[1].manifest["spec"]["ingress"][0]["from"]
    assert blocks == [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{SOURCE}/32"]}},
        {"ipBlock": {"cidr": "::/0"}},
    ]


def test_a_source_of_the_other_family_is_excepted_from_its_own() -> None:
    blocks = propose(a_finding(entities=("host/2001:db8::7",)))[1].manifest["spec"]["ingress"][0]["from"]
    assert blocks[1] == {"ipBlock": {"cidr": "::/0", "except": ["2001:db8::7/128"]}}


@pytest.mark.parametrize(
    ("pattern", "entity", "ports"),
    [
        ("syn_flood", SERVICE, [{"protocol": "TCP", "port": 80}]),
        ("udp_flood", "service/10.0.0.2:53/udp", [{"protocol": "UDP", "port": 53}]),
        ("udp_flood", "host/10.0.0.2", [{"protocol": "TCP"}, {"protocol": "SCTP"}]),
        ("amplification", "service/10.0.0.2:4444/udp", [{"protocol": "TCP"}, {"protocol": "SCTP"}]),
        ("icmp_flood", "host/10.0.0.2", [{"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"}]),
    ],
)
def test_a_flood_of_many_narrows_what_comes_in_to_what_is_not_the_flood(
    pattern: str, entity: str, ports: list[dict[str, object]]
) -> None:
    rule = propose(a_finding(pattern, entities=(entity,), evidence=MANY))[0].manifest["spec"]["ingress"][0]
    assert rule["ports"] == ports
    assert [block["ipBlock"]["cidr"] for block in rule["from"]] == ["0.0.0.0/0", "::/0"]


def test_isolation_lets_nothing_in_or_out_of_the_marked_pod() -> None:
    spec = propose(a_finding("exfiltration", entities=("pod/shop/cart-0", FAR)))[2].manifest["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert "egress" not in spec
    assert list(spec["podSelector"]["matchLabels"]) == ["loomidi.io/quarantine"]


def test_a_rate_says_in_its_manifest_that_a_policy_cannot_carry_it() -> None:
    annotations = propose(a_finding())[0].manifest["metadata"]["annotations"]
    assert annotations["loomidi.io/rate-pps"] == "200"
    assert "no rate" in annotations["loomidi.io/note"]
