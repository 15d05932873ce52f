"""An approval opens exactly one unchanged plan, for a while, and cannot be made up."""

import dataclasses

import pytest

from loomidi.contracts import Approval, Verdict
from loomidi.ionic.approvals import Signer
from loomidi.ionic.errors import ApprovalInvalid
from tests.unit.ionic.making import NOW_NS, a_fold, a_plan

ALLOWED = (Verdict("floor", "ttl", True, ""),)
SIGNER = Signer(b"k" * 32)


def an_approval(verdicts: tuple[Verdict, ...] = ALLOWED, signer: Signer = SIGNER) -> Approval:
    return signer.sign(a_plan(), verdicts, approver="guards", granted_ns=NOW_NS, expires_ns=NOW_NS + 1000)


def test_it_opens_its_own_plan() -> None:
    SIGNER.verify(a_plan(), an_approval(), NOW_NS)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Approval)])
def test_any_changed_field_voids_it(field: str) -> None:
    value = getattr(an_approval(), field)
    other = value + 1 if isinstance(value, int) else ALLOWED * 2 if isinstance(value, tuple) else value + "0"
    forged = dataclasses.replace(an_approval(), **{field: other})
    with pytest.raises(ApprovalInvalid):
        SIGNER.verify(a_plan(), forged, NOW_NS)


def test_another_key_voids_it() -> None:
    with pytest.raises(ApprovalInvalid, match="not ours"):
        SIGNER.verify(a_plan(), an_approval(signer=Signer()), NOW_NS)


def test_it_does_not_open_another_plan() -> None:
    with pytest.raises(ApprovalInvalid, match="is for"):
        SIGNER.verify(a_plan("rate"), an_approval(), NOW_NS)


def test_a_plan_changed_under_the_same_id_stays_closed() -> None:
    changed = dataclasses.replace(a_plan(), fold=a_fold(ttl_s=3600.0))
    with pytest.raises(ApprovalInvalid, match="changed after"):
        SIGNER.verify(changed, an_approval(), NOW_NS)


@pytest.mark.parametrize("allow", [False, None])
def test_verdicts_that_do_not_all_allow_open_nothing(allow: bool | None) -> None:
    approval = an_approval((*ALLOWED, Verdict("rego", "ttl", allow, "")))
    with pytest.raises(ApprovalInvalid, match="verdicts"):
        SIGNER.verify(a_plan(), approval, NOW_NS)


def test_no_verdicts_open_nothing() -> None:
    with pytest.raises(ApprovalInvalid, match="verdicts"):
        SIGNER.verify(a_plan(), an_approval(()), NOW_NS)


def test_it_ends() -> None:
    with pytest.raises(ApprovalInvalid, match="expired"):
        SIGNER.verify(a_plan(), an_approval(), NOW_NS + 1000)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        Signer(b"short")
