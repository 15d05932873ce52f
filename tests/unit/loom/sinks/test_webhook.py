"""Webhooks are signed as Standard Webhooks says, and nothing is sent in the clear or unsigned."""

import base64
from pathlib import Path

import pytest

from loomidi.contracts import InputError, UsageError
from loomidi.loom.sinks import WebhookSettings
from loomidi.loom.sinks.webhook import WebhookSink, _after_s, secret_of, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the specification's own example


def test_the_signature_is_that_of_the_specifications_example() -> None:
    signed = signature(secret_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!", "whsec_" + base64.b64encode(b"short").decode()])
def test_a_weak_or_broken_secret_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="secret"):
        secret_of(text)


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://example.org", "https://", "http://10.0.0.1/", "x"])
def test_only_https_is_spoken_but_to_loopback(url: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with pytest.raises(UsageError, match="https"):
        WebhookSink(WebhookSettings(url, secret=tmp_path / "secret"))


def test_nothing_is_sent_unsigned(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unsigned"):
        WebhookSink(WebhookSettings("https://example.org/x"))
    with pytest.raises(InputError, match="cannot be read"):
        WebhookSink(WebhookSettings("https://example.org/x", secret=tmp_path / "missing"))


@pytest.mark.parametrize(("text", "after_s"), [("7", 7.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("9" * 9, 3600.0)])
def test_a_retry_after_is_believed_within_reason(text: str, after_s: float) -> None:
    assert _after_s(text) == after_s
