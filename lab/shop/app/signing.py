"""Signed requests for payment: who asks, and when. An old signature is refused, so a recorded one cannot be sent again.

`orders` signs, `payment` checks. The price is that both clocks have to agree within half a minute.
"""

import hashlib
import hmac

WINDOW_S = 30.0
AT, SIGNATURE = "x-signed-at", "x-signature"


def sign(secret: str, body: bytes, now_s: float) -> dict[str, str]:
    """The headers that go with a body."""
    at = f"{now_s:.3f}"
    return {AT: at, SIGNATURE: _digest(secret, body, at)}


def check(secret: str, body: bytes, at: str, signature: str, now_s: float) -> str:
    """Empty when it holds, else why not: forged, stale."""
    if not hmac.compare_digest(_digest(secret, body, at), signature):
        return "forged"
    return "" if abs(now_s - float(at)) <= WINDOW_S else "stale"


def _digest(secret: str, body: bytes, at: str) -> str:
    return hmac.new(secret.encode(), at.encode() + b"\n" + body, hashlib.sha256).hexdigest()
