"""Deadlines, budgets, jitter and breakers as arithmetic."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomidi_lab.shop.app import resilience
from loomidi_lab.shop.app.resilience import CLOSED, HALF_OPEN, OPEN, Breaker, RetryBudget


class TestDeadline:
    @settings(deadline=None)
    @given(st.text(max_size=12), st.floats(0.1, 60))
    def test_no_header_gives_more_than_our_own_limit(self, header: str, limit_s: float) -> None:
        assert 100.0 <= resilience.deadline_from(header, 100.0, limit_s) <= 100.0 + limit_s

    def test_what_the_caller_has_left_counts(self) -> None:
        assert resilience.deadline_from("250", 100.0, 5.0) == pytest.approx(100.25)

    def test_nothing_left_is_now(self) -> None:
        assert resilience.deadline_from("-5", 100.0, 5.0) == 100.0


class TestBackoff:
    @settings(deadline=None)
    @given(st.integers(0, 60), st.integers())
    def test_it_stays_below_its_ceiling(self, attempt: int, seed: int) -> None:
        assert 0.0 <= resilience.backoff_s(attempt, 0.02, 0.25, random.Random(seed)) <= 0.25

    def test_two_callers_do_not_come_back_together(self) -> None:
        assert len({resilience.backoff_s(3, 0.02, 0.25, random.Random(n)) for n in range(50)}) == 50


class TestRetryBudget:
    def test_retries_are_at_most_the_ratio_of_calls(self) -> None:
        budget, sent = RetryBudget(0.2), 0
        for _ in range(1000):
            budget.called()
            sent += budget.spend()
        assert sent <= 1000 * 0.2 + 5

    def test_a_large_ratio_is_no_budget(self) -> None:
        budget = RetryBudget(100.0)
        budget.called()
        assert all(budget.spend() for _ in range(50))


class TestBreaker:
    def opened(self) -> Breaker:
        breaker = Breaker(3, 5.0)
        for _ in range(3):
            assert breaker.allows(10.0)
            breaker.failed(10.0)
        return breaker

    def test_it_opens_after_failures_in_a_row(self) -> None:
        breaker = self.opened()
        assert breaker.state == OPEN
        assert not breaker.allows(14.9)

    def test_a_success_between_starts_the_count_again(self) -> None:
        breaker = Breaker(2, 5.0)
        for _ in range(10):
            breaker.failed(0.0)
            breaker.succeeded()
        assert breaker.state == CLOSED

    def test_one_call_is_let_through_after_a_while(self) -> None:
        breaker = self.opened()
        assert breaker.allows(15.0)
        assert breaker.state == HALF_OPEN
        assert not breaker.allows(15.0)

    def test_its_success_closes_and_its_failure_opens_again(self) -> None:
        for succeed, state in ((True, CLOSED), (False, OPEN)):
            breaker = self.opened()
            assert breaker.allows(15.0)
            breaker.succeeded() if succeed else breaker.failed(15.0)
            assert breaker.state == state

    def test_a_caller_that_went_away_does_not_block_the_trial(self) -> None:
        breaker = self.opened()
        assert breaker.allows(15.0)
        breaker.gave_up()
        assert breaker.allows(15.1)

    def test_zero_failures_means_no_breaker(self) -> None:
        breaker = Breaker(0, 5.0)
        for _ in range(100):
            breaker.failed(0.0)
        assert breaker.allows(0.0)
