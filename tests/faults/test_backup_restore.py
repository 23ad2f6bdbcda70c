"""A machine is lost; what was backed up on it while it worked goes on elsewhere:

beside an empty Temporal, or the old one.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.console.receiver import receiving
from tests.support.postgres import Postgres
from tests.support.processes import Program, python
from tests.support.product import Product
from tests.support.waiting import wait_until
from tests.workflows.smtp_server import running_mail_server

# What is promised; on an idle machine it takes a few seconds.
CONVERGES_SECONDS = 180
DIES_AFTER_SECONDS = 6


class Machine(Product):
    """An installation that creates its own tables. Its attempts are so far apart that the machine
    can be lost between two of them.
    """

    def __init__(
        self,
        data_dir: Path,
        database_url: str,
        *,
        temporal: Mapping[str, str] | None = None,
        **beside: Any,
    ) -> None:
        """`temporal`: the address of another machine's Temporal, in place of its own."""
        data_dir.mkdir()
        settings = {"MAKEGOOD_CALLBACK_SCHEDULE_SECONDS": "0,8,8,8,8", **(temporal or {})}
        super().__init__(data_dir, database_url, settings=settings, **beside)

    def take_key_of(self, other: "Machine") -> None:
        """The apps go on with the key that they have."""
        self._api_key = other._api_key

    def begin_backup(self, file: Path) -> Program:
        """`makegood backup`, still at work."""
        return Program(python("-m", "cli.main", "backup", str(file), "--json"), self._environment)


@dataclass(frozen=True, slots=True)
class Lives:
    """A receipt for each thing that may be under way; `calling` and `awaiting` come with their
    repairs.
    """

    applied: str
    waiting: str
    overdue_soon: str
    mailed_incident: str
    unmailed: str
    calling: tuple[str, str]
    awaiting: tuple[str, str]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two stores of one kind, neither with tables:

    of the machine that is lost, and of the new one.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/lost/makegood.db", f"sqlite:///{tmp_path}/new/makegood.db"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    names = postgres.create(), postgres.create()
    yield postgres.url(names[0]), postgres.url(names[1])
    for name in names:
        postgres.drop(name)


@contextmanager
def closed_after(machine: Machine) -> Iterator[Machine]:
    try:
        yield machine
    finally:
        machine.close()


def test_new_machine_continues_from_the_backup(urls: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "backup.jsonl.gz"
    with running_mail_server() as (post, smtp_url), receiving() as receiver:
        beside = {"post": post, "smtp_url": smtp_url, "receiver": receiver}
        with closed_after(Machine(tmp_path / "lost", urls[0], **beside)) as lost:
            assert lost.makegood("migrate").code == 0
            lost.start("temporal", "api", "worker")
            lost.create_project()
            lives = _live(lost)
            acknowledged = _back_up_under_load(lost, file)
            for name in ("worker", "api", "temporal"):
                lost.kill(name)
        mailed = Counter(mail["Message-ID"] for mail in post.mails)
        post.is_refusing, receiver.status = False, 200
        with closed_after(Machine(tmp_path / "new", urls[1], **beside)) as new:
            new.take_key_of(lost)
            began_at = time.monotonic()
            assert new.makegood("restore", str(file)).code == 0
            new.start("temporal", "api", "worker")

            _goes_on(new, lives, acknowledged)

            _alerts_are_sent_once(new, lives, mailed)
            assert time.monotonic() - began_at < CONVERGES_SECONDS


@pytest.mark.long
def test_new_machine_continues_with_a_temporal_that_is_ahead_of_the_backup(
    tmp_path: Path,
) -> None:
    file = tmp_path / "backup.jsonl.gz"
    with running_mail_server() as (post, smtp_url), receiving() as receiver:
        beside = {"post": post, "smtp_url": smtp_url, "receiver": receiver}
        with closed_after(
            Machine(tmp_path / "lost", f"sqlite:///{tmp_path}/lost/makegood.db", **beside)
        ) as lost:
            assert lost.makegood("migrate").code == 0
            lost.start("temporal", "api", "worker")
            lost.create_project()
            repairing, recovered, applied = (
                lost.receipt(),
                lost.receipt(),
                lost.receipt(timeout_minutes=0.1),
            )
            lost.say("result", {"event_id": recovered, "status": "failed"})
            wait_until(lambda: "alert_sent" in kinds(lost, recovered), what="its mail is recorded")
            assert lost.makegood("backup", str(file)).code == 0
            forgotten = _go_further(lost, repairing, recovered, applied)
            for name in ("worker", "api"):
                lost.kill(name)
            temporal = {"TEMPORAL_ADDRESS": lost.temporal_address}
            with closed_after(
                Machine(
                    tmp_path / "new",
                    f"sqlite:///{tmp_path}/new/makegood.db",
                    temporal=temporal,
                    **beside,
                )
            ) as new:
                new.take_key_of(lost)
                assert new.makegood("restore", str(file)).code == 0
                new.start("api", "worker")

                assert (new.event(repairing)["state"], new.event(recovered)["state"]) == (
                    "waiting",
                    "incident",
                )
                assert (
                    new.becomes(applied, "incident", seconds=CONVERGES_SECONDS)["incident"][
                        "reason"
                    ]
                    == "missing_result"
                )
                new.say("result", {"event_id": repairing, "status": "failed"})
                for event_id in (repairing, recovered, applied):
                    replay_id = new.reprocess(event_id)
                    wait_until(
                        lambda e=event_id: repair(new, e)["state"] == "awaiting_result",
                        seconds=60,
                        what="it is called",
                    )
                    new.say(
                        "result",
                        {"event_id": event_id, "status": "success", "replay_id": replay_id},
                    )
                    assert (
                        new.becomes(event_id, "recovered")["incident"]["active_replay_id"] is None
                    )
                    assert replay_id != forgotten


def _go_further(lost: Machine, repairing: str, recovered: str, applied: str) -> str:
    """What the backup knows nothing of, and Temporal does; the repair that was asked for."""
    lost.say("result", {"event_id": applied, "status": "success"})
    lost.say("result", {"event_id": recovered, "status": "success"})
    lost.say("result", {"event_id": repairing, "status": "failed"})
    replay_id = lost.reprocess(repairing)
    wait_until(
        lambda: repair(lost, repairing)["state"] == "awaiting_result", what="its repair is taken"
    )
    ended = "WorkflowType = 'receipt' AND ExecutionStatus = 'Completed'"
    wait_until(
        lambda: "Total: 2" in lost.temporal("workflow", "count", "--query", ended),
        seconds=30,
        what="two runs have ended",
    )
    return replay_id


def _live(lost: Machine) -> Lives:
    """Everything that may be under way when a machine dies."""
    applied, waiting, mailed_incident, unmailed, calling, awaiting = (
        lost.receipt() for _ in range(6)
    )
    lost.say("result", {"event_id": applied, "status": "success"})
    for event_id in (mailed_incident, calling, awaiting):
        lost.say("result", {"event_id": event_id, "status": "failed"})
    for event_id in (mailed_incident, calling, awaiting):
        wait_until(
            lambda event_id=event_id: "alert_sent" in kinds(lost, event_id),
            what="its mail is recorded",
        )
    lost.post.is_refusing = True
    lost.say("result", {"event_id": unmailed, "status": "failed"})
    wait_until(lambda: "alert_failed" in kinds(lost, unmailed), what="its mail is refused")
    awaited = lost.reprocess(awaiting)
    wait_until(
        lambda: repair(lost, awaiting)["state"] == "awaiting_result", what="its repair is taken"
    )
    overdue_soon = lost.receipt(timeout_minutes=DIES_AFTER_SECONDS / 60)
    lost.receiver.status = 500
    called = lost.reprocess(calling)
    wait_until(
        lambda: [one["status"] for one in repair(lost, calling)["attempts"]] == [500],
        what="its call is refused",
    )
    return Lives(
        applied,
        waiting,
        overdue_soon,
        mailed_incident,
        unmailed,
        (calling, called),
        (awaiting, awaited),
    )


def _back_up_under_load(lost: Machine, file: Path) -> list[str]:
    """The receipts that were acknowledged before the backup began; more come in all the while."""
    accepted: list[str] = []
    is_over = threading.Event()

    def send() -> None:
        while not is_over.is_set():
            accepted.append(lost.receipt())
            is_over.wait(0.02)  # each receipt is in both the database and Temporal

    sending = threading.Thread(target=send)
    sending.start()
    wait_until(lambda: len(accepted) > 20, what="receipts come in")
    acknowledged = list(accepted)
    backup = lost.begin_backup(file)
    try:
        assert backup.ended(seconds=60) == 0, backup.output
    finally:
        backup.end()
        is_over.set()
        sending.join(timeout=30)
    assert len(accepted) > len(acknowledged) + 5
    return acknowledged


def _goes_on(new: Machine, lives: Lives, acknowledged: list[str]) -> None:
    assert {new.event(event_id)["state"] for event_id in acknowledged} == {"waiting"}
    assert new.event(lives.applied)["state"] == "applied"
    assert {
        new.event(event_id)["state"] for event_id in (lives.mailed_incident, lives.unmailed)
    } == {"incident"}

    overdue = new.becomes(lives.overdue_soon, "incident", seconds=CONVERGES_SECONDS)
    assert overdue["incident"]["reason"] == "missing_result"
    assert overdue["timeline"][-1]["kind"] in {"incident_opened", "alert_sent"}

    calling, called = lives.calling
    of_repair = [call for call in new.receiver.calls if call.body["replay_id"] == called]
    assert [call.headers["x-sendpromptly-attempt"] for call in of_repair[:1]] == ["1"]
    wait_until(
        lambda: repair(new, calling)["state"] == "awaiting_result",
        seconds=CONVERGES_SECONDS,
        what="called again",
    )
    assert (repair(new, calling)["replay_id"], len(new.event(calling)["repairs"])) == (called, 1)
    # One refused attempt, or more on a slow machine; none is counted twice.
    attempts = repair(new, calling)["attempts"]
    assert [one["number"] for one in attempts] == list(range(1, len(attempts) + 1))
    assert (attempts[0]["status"], attempts[-1]["status"]) == (500, 200)

    for event_id, replay_id in (lives.calling, lives.awaiting):
        new.say("result", {"event_id": event_id, "status": "success", "replay_id": replay_id})
        assert new.becomes(event_id, "recovered")["incident"]["resolution"] == "repaired"
    for event_id in (lives.waiting, acknowledged[0]):
        assert new.say("result", {"event_id": event_id, "status": "success"})["state"] == "applied"
    replay_id = new.reprocess(lives.mailed_incident)
    wait_until(
        lambda: repair(new, lives.mailed_incident)["state"] == "awaiting_result",
        seconds=60,
        what="a new repair",
    )
    assert repair(new, lives.mailed_incident)["replay_id"] == replay_id


def _alerts_are_sent_once(new: Machine, lives: Lives, mailed: Counter[str]) -> None:
    # Those of before, the one that was refused, the overdue one, and the ends of two repairs.
    expected = mailed.total() + 4
    wait_until(
        lambda: len(new.post.mails) >= expected, seconds=CONVERGES_SECONDS, what="every mail"
    )
    for event_id in (lives.unmailed, lives.overdue_soon):
        wait_until(
            lambda event_id=event_id: "alert_sent" in kinds(new, event_id),
            what="its mail is recorded",
        )
        assert kinds(new, event_id).count("incident_opened") == 1
    ids = Counter(mail["Message-ID"] for mail in new.post.mails)
    assert mailed.total() == 3
    assert len(new.post.mails) == expected
    assert set(ids.values()) == {1}


def kinds(machine: Machine, event_id: str) -> list[str]:
    return [entry["kind"] for entry in machine.event(event_id)["timeline"]]


def repair(machine: Machine, event_id: str) -> dict[str, Any]:
    """Its last repair."""
    return dict(machine.event(event_id)["repairs"][-1])
