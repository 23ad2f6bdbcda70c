import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.retries import (
    Accepted,
    ErrorClass,
    ExchangeOutcome,
    Exhausted,
    Rejected,
    TryAgain,
    Verdict,
    delay_before_attempt,
    judge_exchange,
)

SCHEDULE = (0, 60, 600, 3600, 21_600)


def judge(
    status: int | None,
    *,
    attempt_number: int = 1,
    retry_after: int | None = None,
    draw: float = 0.5,
    jitter: float = 0.1,
) -> Verdict:
    outcome = ExchangeOutcome(
        status=status,
        error_class=ErrorClass.TIMEOUT if status is None else None,
        duration_ms=1,
        retry_after_seconds=retry_after,
    )
    return judge_exchange(
        outcome, attempt_number=attempt_number, schedule=SCHEDULE, jitter=jitter, draw=draw
    )


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success_on_any_attempt(status: int) -> None:
    assert judge(status) == Accepted()
    assert judge(status, attempt_number=5) == Accepted()


@pytest.mark.parametrize("status", [None, 408, 429, 500, 502, 503, 504, 599, 101, 600, 999])
def test_failure_that_may_pass_is_tried_again(status: int | None) -> None:
    assert judge(status) == TryAgain(60)


@pytest.mark.parametrize(
    "status", [*range(300, 309), 400, 401, 403, 404, 409, 411, 422, 425, 451, 499]
)
def test_any_other_answer_ends_the_series(status: int) -> None:
    assert judge(status) == Rejected(url_gone=False)


def test_gone_ends_the_series_and_marks_the_url() -> None:
    assert judge(410) == Rejected(url_gone=True)


@pytest.mark.parametrize(
    ("attempt_number", "delay_seconds"), [(1, 60), (2, 600), (3, 3600), (4, 21_600)]
)
def test_delay_follows_the_schedule(attempt_number: int, delay_seconds: int) -> None:
    assert judge(500, attempt_number=attempt_number) == TryAgain(delay_seconds)


@pytest.mark.parametrize("attempt_number", [5, 6])
def test_last_attempt_exhausts_the_series(attempt_number: int) -> None:
    assert judge(500, attempt_number=attempt_number) == Exhausted()
    assert judge(429, attempt_number=attempt_number, retry_after=1) == Exhausted()


def test_rejection_is_not_exhaustion_on_the_last_attempt() -> None:
    assert judge(404, attempt_number=5) == Rejected(url_gone=False)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("attempt_number", "retry_after", "delay_seconds"),
    [
        (1, 61, 61),
        (1, 0, 60),
        (1, 3600, 3600),
        (1, 3601, 3600),
        (1, 10**9, 3600),
        (4, 10**9, 21_600),
        (1, None, 60),
    ],
)
def test_retry_waits_as_long_as_a_429_or_503_asks_up_to_an_hour(
    status: int, attempt_number: int, retry_after: int | None, delay_seconds: int
) -> None:
    verdict = judge(status, attempt_number=attempt_number, retry_after=retry_after)

    assert verdict == TryAgain(delay_seconds)


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_retry_after_of_any_other_status_is_not_applied(status: int) -> None:
    assert judge(status, retry_after=3000) == TryAgain(60)


@pytest.mark.parametrize(("draw", "delay_seconds"), [(0, 54), (0.5, 60), (1, 66)])
def test_draw_moves_the_delay_by_the_jitter(draw: float, delay_seconds: float) -> None:
    assert delay_before_attempt(2, schedule=SCHEDULE, jitter=0.1, draw=draw) == pytest.approx(
        delay_seconds
    )


def test_first_attempt_is_immediate() -> None:
    assert delay_before_attempt(1, schedule=SCHEDULE, jitter=0.1, draw=1) == 0


@pytest.mark.parametrize("status", [429, 503])
@given(
    draw=st.floats(0, 1),
    jitter=st.floats(0, 1),
    number=st.integers(1, 4),
    asked=st.none() | st.integers(0, 10**9),
)
def test_wait_never_ends_before_what_a_429_or_503_asked(
    status: int, draw: float, jitter: float, number: int, asked: int | None
) -> None:
    verdict = judge(status, attempt_number=number, retry_after=asked, draw=draw, jitter=jitter)

    assert isinstance(verdict, TryAgain)
    assert verdict.delay_seconds >= max(
        SCHEDULE[number] * (1 - jitter) - 1e-6, min(asked or 0, 3600)
    )
    assert verdict.delay_seconds <= max(SCHEDULE[number] * (1 + jitter) + 1e-6, 3600)
