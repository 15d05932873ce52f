"""Settings, clock and logging."""

import json
from pathlib import Path

import pytest

from loomidi.kit import clock, logging, settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert settings.read({}) == settings.Settings()


def test_each_group_field_is_read_from_its_variable() -> None:
    given = settings.read({"LOOMIDI_STORAGE_STATE": "/s", "LOOMIDI_LOGGING_JSON": "yes", "LOOMIDI_OTHER": "?"})
    assert given.storage.state == Path("/s")
    assert given.logging.json is True


def test_a_value_that_does_not_fit_names_the_variable() -> None:
    with pytest.raises(settings.BadSetting, match="LOOMIDI_LOGGING_JSON is 'maybe'; use 1 or 0"):
        settings.read({"LOOMIDI_LOGGING_JSON": "maybe"})


def test_the_manual_clock_moves_only_when_told() -> None:
    hand = clock.ManualClock(5)
    hand.sleep(2e-9)
    assert (hand.now_ns(), hand.monotonic_ns()) == (7, 7)
    with pytest.raises(ValueError, match="back"):
        hand.move(-1)


def test_the_system_clock_does_not_go_back() -> None:
    first = clock.SystemClock().monotonic_ns()
    assert clock.SystemClock().monotonic_ns() >= first


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure(settings.Logging(level="warning", json=True))
    log = logging.logger("house")
    log.info("quiet")
    log.warning("heard", lost=3)
    logging.configure(settings.Logging())
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["lost"], line["level"]) == ("heard", 3, "warning")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(settings.BadSetting, match="LOOMIDI_LOGGING_LEVEL"):
        logging.configure(settings.Logging(level="loud"))
