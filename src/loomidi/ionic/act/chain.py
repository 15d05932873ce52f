"""The hash chain of receipts: each id is SHA-256 over the receipt's content and the id of the one before it.

Called by the stores and by `loomidi receipts`. Pure. It finds a receipt that was changed, taken out, put in or moved;
receipts cut off at the end are found only by who has kept a later head (see docs/policy.md).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable

from loomidi.contracts import Receipt
from loomidi.contracts.ports import Line
from loomidi.ionic.documents import canonical, canonical_text

ROOT = "receipt-root"  # `previous` of the first


@dataclasses.dataclass(frozen=True, slots=True)
class ChainCheck:
    """What checking found."""

    count: int  # receipts that were read
    head: str  # id of the last one that is sound
    broken_at: int | None  # position of the first that is not, from 0
    why: str  # '' when sound


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """A receipt with its two documents as text, which is what a store writes."""

    receipt: Receipt
    inverse: str  # canonical JSON
    detail: str  # canonical JSON


def sealed(receipt: Receipt, previous: str) -> Receipt:
    """The receipt behind `previous` in the chain, with the id that follows from its content."""
    linked = dataclasses.replace(receipt, previous=previous)
    return dataclasses.replace(linked, id=receipt_id(linked))


def written(line: Line, at_ns: int, previous: str) -> Written:
    """The line as a receipt behind `previous`. Each document is turned into text once: it is hashed, kept and copied
    from that. The id is the one that `receipt_id` gives, which a test holds.
    """
    inverse, detail = canonical_text(line.inverse), canonical_text(line.detail)
    driver, plan_id, before, step = (canonical_text(x) for x in (line.driver, line.plan_id, previous, line.step.value))
    content = (
        f'{{"at_ns":{at_ns},"detail":{detail},"driver":{driver},"inverse":{inverse},'
        f'"plan_id":{plan_id},"previous":{before},"step":{step}}}'
    )
    identity = _id(content.encode())
    documents = (json.loads(inverse), json.loads(detail))
    receipt = Receipt(identity, line.plan_id, line.step, at_ns, line.driver, *documents, previous)
    return Written(receipt, inverse, detail)


def receipt_id(receipt: Receipt) -> str:
    """`receipt-` and 64 hex digits."""
    content = receipt.as_dict()
    del content["id"]
    return _id(canonical(content))


def _id(content: bytes) -> str:
    return f"receipt-{hashlib.sha256(content).hexdigest()}"


def check_chain(receipts: Iterable[Receipt], head: str | None = None) -> ChainCheck:
    """Walk the receipts, oldest first. `head`: the id that a trusted party has noted as the last, if any."""
    previous, count, seen = ROOT, 0, head in (None, ROOT)
    for count, receipt in enumerate(receipts, start=1):
        why = _fault(receipt, previous)
        if why:
            return ChainCheck(count, previous, count - 1, why)
        previous = receipt.id
        seen = seen or previous == head
    if not seen:
        return ChainCheck(count, previous, count, f"the noted head {head} is missing: receipts were cut off")
    return ChainCheck(count, previous, None, "")


def _fault(receipt: Receipt, previous: str) -> str:
    if receipt.previous != previous:
        return f"it follows {receipt.previous}, but the one before it is {previous}: taken out, put in or moved"
    return "" if receipt.id == receipt_id(receipt) else "its content is not what its id says: it was changed"
