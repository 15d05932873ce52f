"""Ctrl-C while a scenario runs is an event that the run looks at; at any other time it stops what goes on."""

import os
import signal

import pytest

from loomidi_lab.live.commands import Ending, _interruptible
from loomidi_lab.staging.stages import RunEnded


def test_while_a_run_goes_on_the_first_signal_is_an_event_and_the_second_stops() -> None:
    ending = Ending()
    with ending.heard():
        ending.interrupt()
        assert ending.event.is_set()
        with pytest.raises(KeyboardInterrupt):
            ending.interrupt()


def test_a_run_that_ended_because_of_it_rises_as_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt), Ending().heard():
        raise RunEnded("the run was ended")


def test_between_runs_a_signal_stops_at_once() -> None:
    ending = Ending()
    with ending.heard():
        pass
    with pytest.raises(KeyboardInterrupt):
        ending.interrupt()
    assert not ending.event.is_set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_all_ways_to_be_ended_are_heard_and_given_back(number: signal.Signals) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with _interruptible() as ending, ending.heard():
            os.kill(os.getpid(), number)
            assert ending.event.wait(20)
        assert {each: signal.getsignal(each) for each in handlers} == handlers
    finally:
        signal.signal(signal.SIGINT, before)
