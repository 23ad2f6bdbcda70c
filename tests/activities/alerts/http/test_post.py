"""The POST of an alert: what each behaviour of a real receiver means, and what is kept of it."""

from ipaddress import ip_network

import pytest

from activities.alerts.channels import AlertNotDelivered, ChannelAnswer
from activities.alerts.http.post import HttpPost
from tests.activities.alerts.http.receiver import LOOPBACK, receiving

PATH = "/services/T0/B0/very-secret-token"


async def refused(post: HttpPost, url: str) -> AlertNotDelivered:
    with pytest.raises(AlertNotDelivered) as refusal:
        await post(url, b"{}")
    return refusal.value


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_receiver_that_accepts_is_quoted(status: int) -> None:
    async with receiving() as receiver:
        receiver.statuses, receiver.content = [status], b"" if status == 204 else b"ok\r\nthen"

        answer = await HttpPost(allow=LOOPBACK)(f"{receiver.url}{PATH}", b'{"a": 1}')

    (got,) = receiver.got
    assert answer == ChannelAnswer(status, "" if status == 204 else "ok then")
    assert (got.path, got.json) == (PATH, {"a": 1})
    assert (got.headers["content-type"], got.headers["user-agent"]) == (
        "application/json",
        "Makegood",
    )


@pytest.mark.parametrize(
    ("status", "is_permanent", "is_content_refused", "asked"),
    [
        (301, True, False, None),
        (400, True, True, None),
        (401, True, False, None),
        (403, True, False, None),
        (404, True, False, None),
        (408, False, False, None),
        (410, True, False, None),
        (413, True, True, None),
        (422, True, True, None),
        (429, False, False, 120),
        (500, False, False, None),
        (503, False, False, 120),
        (599, False, False, None),
    ],
)
async def test_status_says_whether_and_when_to_try_again(
    status: int, is_permanent: bool, is_content_refused: bool, asked: int | None
) -> None:
    async with receiving() as receiver:
        receiver.statuses, receiver.content = [status], b"invalid_payload"
        receiver.headers = {"Retry-After": "120", "Location": "http://127.0.0.1:1/"}

        refusal = await refused(HttpPost(allow=LOOPBACK), receiver.url)

    assert len(receiver.got) == 1, "no redirect is followed"
    assert str(refusal) == f"HTTP {status}: invalid_payload"
    assert refusal.is_permanent is is_permanent
    assert refusal.is_content_refused is is_content_refused
    assert refusal.retry_after_seconds == asked
    assert refusal.answer == ChannelAnswer(status, "invalid_payload")


@pytest.mark.parametrize(
    ("mode", "failure", "is_silent"),
    [
        ("hang", "timeout", True),
        ("drip", "timeout", True),
        ("reset", "connection_reset", False),
    ],
)
async def test_receiver_without_an_answer_is_tried_again(
    mode: str, failure: str, is_silent: bool
) -> None:
    async with receiving() as receiver:
        receiver.mode = mode
        receiver.headers = {"Content-Length": "4000"}

        refusal = await refused(HttpPost(allow=LOOPBACK, timeout_seconds=0.4), receiver.url)

    assert (str(refusal), refusal.is_silent, refusal.is_permanent) == (failure, is_silent, False)
    assert refusal.answer is None


async def test_long_answer_is_cut_and_counts() -> None:
    async with receiving() as receiver:
        receiver.content = b"x" * 1_000_000

        answer = await HttpPost(allow=LOOPBACK)(receiver.url, b"{}")

    assert len(answer.excerpt) == 300


async def test_no_secret_that_a_receiver_repeats_is_kept() -> None:
    async with receiving() as receiver:
        url = f"{receiver.url}{PATH}?key=0123456789"
        said = f"no {url} nor very-secret-token nor 0123456789 nor whsec_abc"
        receiver.statuses, receiver.content = [404], said.encode()

        with pytest.raises(AlertNotDelivered) as refusal:
            await HttpPost(allow=LOOPBACK)(url, b"{}", secrets=("whsec_abc",))

    answer = refusal.value.answer
    assert answer is not None
    assert answer.excerpt == "no … nor … nor … nor …"
    assert str(refusal.value) == "HTTP 404"


@pytest.mark.parametrize("allow", [(), (ip_network("10.0.0.0/8"),)])
async def test_address_that_the_guard_refuses_is_never_called(allow: tuple[()]) -> None:
    async with receiving() as receiver:
        refusal = await refused(HttpPost(allow=allow), receiver.url)

    assert (str(refusal), receiver.got) == ("no_permitted_address", [])
    assert not refusal.is_permanent
