"""The table of kinds: complete, and the role that is shipped is the one that follows from it."""

import yaml

from loomidi.contracts import FoldKind, FoldSpec
from loomidi.ionic.act.kube import KINDS
from tools import rbac


def test_every_kind_of_fold_is_in_the_table() -> None:
    assert set(KINDS) == set(FoldKind)


def test_the_shipped_role_is_what_the_table_says() -> None:
    assert rbac.FILE.read_text() == rbac.rendered(), "run: make docs"
    assert rbac.PEOPLE.read_text() == rbac.people(), "run: make docs"


def test_the_role_asks_for_nothing_by_wildcard_and_for_no_secrets() -> None:
    roles = [role for file in (rbac.FILE, rbac.PEOPLE) for role in yaml.safe_load_all(file.read_text())]
    words = {word for role in roles for rule in role["rules"] for part in rule.values() for word in part}
    assert not words & {"*", "secrets", "escalate", "bind", "impersonate"}


def test_every_kind_says_why_it_needs_each_right_and_shows_an_example() -> None:
    for name, kind in KINDS.items():
        assert all(rule.why for rule in kind.rules)
        assert kind.rules
        assert FoldSpec(name, action=kind.action, target=kind.example["target"]).target


def test_what_has_no_way_back_says_so() -> None:
    lost = {name for name, kind in KINDS.items() if not kind.reversible}
    assert lost == {FoldKind.EVICT, FoldKind.TERMINATE}
    assert all(KINDS[name].inverse.startswith("none") for name in lost)
