"""The red channel: a growing file's words reach one named person before the call ends, once."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

import tasks.intake.conversations as conversations
import tasks.intake.follow as follow
from loopwright.errors import ConflictError, InputError, TransitionRefused
from models.conversation import Conversation, FollowedFile
from models.feedback import Feedback, Quarantine, RawItem
from models.history import HistoryEvent
from models.kinds import Authority
from models.loop import Loop
from models.message import Message
from models.red_alert import RedAlert
from tasks.intake.ingest import IntakeTaken, ingest_file, root_of
from tasks.intake.pull import pull_source
from tasks.messages.deliver import deliver_lease
from tasks.privacy.erase import Order, erase
from tasks.privacy.personal import find_subject
from tasks.routing.red_channel import judge_alert, list_alerts, timeliness
from tasks.sweeps import ingest_feedback
from tasks.workspace import Workspace
from tests.cast import (
    AUDIT,
    DAY,
    FEE,
    HOUR,
    LOGIN,
    NOON,
    OPS,
    drop,
    kinds_of,
    on_leave,
    one,
    rows,
    take_in,
    tell,
    triage,
)

MINUTE = timedelta(minutes=1)
DANGER = "登录不了，我不想活了"


def segment(call: str, n: int, said: str, who: str = "customer", **more: Any) -> dict[str, Any]:
    return {"call": call, "n": n, "who": who, "said": said} | more


def grow(ws: Workspace, *segments: Any, name: str = "today.jsonl") -> Path:
    """Write further lines at the end of the growing file."""
    folder = ws.settings.inbox / "live"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    lines = [s if isinstance(s, str) else json.dumps(s, ensure_ascii=False) for s in segments]
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    return path


def pull(ws: Workspace, now: datetime = NOON) -> Any:
    return pull_source(ws, ws.sources["live"], now)


def pull_or_give_way(ws: Workspace, now: datetime) -> None:
    """As the sweep does, where another worker reads the source at this moment."""
    with suppress(IntakeTaken):
        pull(ws, now)


def alert_messages(ws: Workspace) -> list[Any]:
    return rows(ws.db, Message, template="red_alert")


def sent_files(ws: Workspace) -> list[str]:
    return [p.read_text("utf-8") for p in ws.settings.messages.folder.rglob("*.txt")]


def test_the_alert_goes_out_before_the_conversation_ends(ws: Workspace) -> None:
    grow(ws, segment("C1", 1, "您好，请讲", who="agent"), segment("C1", 2, "登录不了"))
    pull(ws)
    assert rows(ws.db, RedAlert) == []
    grow(ws, segment("C1", 3, "我不想活了，电话13800138000"))
    pull(ws, NOON + MINUTE)
    alert = one(ws.db, RedAlert)
    assert (alert.source, alert.person, alert.unit) == ("live", "ho.chief", "DB")
    assert alert.reasons.split(",")[0] == "danger"
    assert rows(ws.db, Feedback) == [], "the call still runs"
    assert asyncio.run(deliver_lease(ws, NOON + MINUTE)) is not None
    (mail,) = sent_files(ws)
    assert "首长" in mail
    assert "不想活" in mail
    assert "通话仍在进行" in mail
    assert "13800138000" not in mail
    grow(ws, segment("C1", 4, "再见", end=True))
    pull(ws, NOON + 2 * MINUTE)
    (item,) = rows(ws.db, Feedback)
    assert item.text == "登录不了\n我不想活了，电话13800138000\n再见"
    triage(ws, NOON + 2 * MINUTE)
    assert len(alert_messages(ws)) == 1, "the whole item raises no second alert"
    assert one(ws.db, RedAlert).loop_id == one(ws.db, Loop, kind="small").id


def test_an_alert_says_whom_and_why_but_no_words(ws: Workspace) -> None:
    grow(ws, segment("C1", 1, DANGER))
    pull(ws)
    event = one(ws.db, HistoryEvent, kind="red.raised")
    data = json.loads(event.data)
    assert data["person"] == "ho.chief"
    assert data["reasons"] == "danger", "the rule and the signal are called alike here"
    assert json.loads(event.envelope)["rule"] == "danger"
    assert "不想活" not in event.envelope
    assert '"C1"' not in event.envelope


def test_reading_again_raises_nothing(ws: Workspace) -> None:
    path = grow(ws, segment("C1", 1, DANGER))
    pull(ws)
    pull(ws, NOON + MINUTE)
    copy = path.with_name("copy.jsonl")
    copy.write_bytes(path.read_bytes())
    pull(ws, NOON + 2 * MINUTE)
    assert len(alert_messages(ws)) == 1
    assert one(ws.db, Conversation).segments == 1
    assert len(rows(ws.db, FollowedFile)) == 1, "the copy is known by its first bytes"


def test_a_segment_read_twice_is_one_segment(ws: Workspace) -> None:
    """A file begins anew and brings what was there before."""
    path = grow(ws, segment("C1", 1, LOGIN), segment("C1", 2, "快点"))
    pull(ws)
    path.unlink()
    grow(ws, segment("C0", 1, LOGIN), segment("C1", 1, LOGIN), segment("C1", 3, "好", end=True))
    pull(ws, NOON + MINUTE)
    (item,) = rows(ws.db, Feedback)
    assert item.text == f"{LOGIN}\n快点\n好"
    assert len(rows(ws.db, FollowedFile)) == 2


def test_two_calls_in_one_file_are_two_conversations(ws: Workspace) -> None:
    grow(
        ws,
        segment("C1", 1, DANGER),
        segment("C2", 1, "我也不想活了"),
        segment("C2", 2, "好", end=True),
        segment("C1", 2, "好", end=True),
    )
    pull(ws)
    assert len(alert_messages(ws)) == 2
    assert sorted(item.text for item in rows(ws.db, Feedback)) == [
        "我也不想活了\n好",
        f"{DANGER}\n好",
    ]


def test_half_a_line_waits_for_its_other_half(ws: Workspace) -> None:
    path = grow(ws, segment("C1", 1, LOGIN))
    line = json.dumps(segment("C1", 2, "我不想活了"), ensure_ascii=False).encode()
    with path.open("ab") as file:
        file.write(line[:40])
    pull(ws)
    assert (one(ws.db, Conversation).segments, rows(ws.db, RedAlert)) == (1, [])
    with path.open("ab") as file:
        file.write(line[40:] + b"\n")
    pull(ws, NOON + MINUTE)
    assert one(ws.db, Conversation).segments == 2
    assert len(rows(ws.db, RedAlert)) == 1


def test_a_truncated_file_is_read_from_its_beginning(ws: Workspace) -> None:
    path = grow(ws, segment("C1", 1, LOGIN), segment("C1", 2, "等很久了", end=True))
    pull(ws)
    path.write_text("", "utf-8")
    grow(ws, segment("C2", 1, DANGER))
    pull(ws, NOON + MINUTE)
    assert len(rows(ws.db, RedAlert)) == 1
    assert one(ws.db, Conversation, ended_at=None).segments == 1


def test_a_rotated_file_goes_on_where_it_was(ws: Workspace) -> None:
    path = grow(ws, segment("C1", 1, LOGIN))
    pull(ws)
    path.rename(path.with_name("yesterday.jsonl"))
    grow(ws, segment("C1", 2, "还是不行"), name="yesterday.jsonl")
    grow(ws, segment("C2", 1, FIRST))
    pull(ws, NOON + MINUTE)
    assert sorted(c.segments for c in rows(ws.db, Conversation)) == [1, 2]
    assert sorted(f.stored for f in rows(ws.db, FollowedFile)) == [1, 2]


FIRST = "你好"
ORDER = Order(Authority.CUSTOMER_REQUEST, "客户来函申请", AUDIT)


def test_silence_ends_a_conversation(ws: Workspace) -> None:
    grow(ws, segment("C1", 1, LOGIN))
    pull(ws)
    pull(ws, NOON + 9 * MINUTE)
    assert rows(ws.db, Feedback) == []
    pull(ws, NOON + 10 * MINUTE)
    assert one(ws.db, Feedback).text == LOGIN
    ended = one(ws.db, Conversation)
    assert (ended.ended_at, ended.record) == (NOON + 10 * MINUTE, None), "words are in one place"


def test_what_comes_after_the_end_makes_a_new_version(ws: Workspace) -> None:
    grow(ws, segment("C1", 1, LOGIN, end=True))
    pull(ws)
    grow(ws, segment("C1", 2, "忘了说，昨天也这样", end=True))
    pull(ws, NOON + MINUTE)
    first, second = rows(ws.db, Feedback)
    assert (second.version, second.previous_id) == (2, first.id)
    assert second.text.startswith(LOGIN)


def test_segments_out_of_order_are_put_in_order(ws: Workspace) -> None:
    grow(ws, segment("C1", 2, "二"), segment("C1", 1, "一"), segment("C1", 3, "三", end=True))
    pull(ws)
    assert one(ws.db, Feedback).text == "一\n二\n三"


def test_a_line_that_is_no_segment_is_set_aside(ws: Workspace) -> None:
    grow(ws, "{half", {"who": "customer", "said": "谁"}, segment("C1", 1, DANGER))
    counts = pull(ws)
    assert (counts.read, counts.quarantined) == (3, 2)
    reasons = sorted(row.reason for row in rows(ws.db, Quarantine))
    assert [r.split(":")[0] for r in reasons] == [
        "no conversation is named in 'call'",
        "no valid JSON",
    ]
    assert len(rows(ws.db, RawItem)) == 2, "what could be read is in its conversation now"
    assert len(rows(ws.db, RedAlert)) == 1


def test_judged_lines_are_counted_in_the_history(ws: Workspace) -> None:
    """The lines themselves are gone by then."""
    lines = [json.dumps(segment("C1", n, LOGIN), ensure_ascii=False) for n in (1, 2)]
    grow(ws, lines[0], "no segment", lines[1])
    pull(ws)
    pull(ws, NOON + MINUTE)
    event = one(ws.db, HistoryEvent, kind="feedback.followed")
    data = json.loads(event.data)
    assert (data["segments"], data["quarantined"], data["upto"]) == (2, 1, 3)
    said = (lines[0], "no segment", lines[1])
    assert data["root"] == root_of(ws.hasher.fingerprint("payload", line) for line in said)
    assert data["intake"] == one(ws.db, FollowedFile).id
    assert "C1" not in event.envelope


def test_a_valued_customer_in_strong_emotion(ws: Workspace) -> None:
    """The same words: an alert for a customer of the right band, none for another."""
    drop(
        ws,
        "snapshot,number,phone,mail,band,vulnerable,branch,sms,from,to",
        "S1,N1,,,gold,no,BR1-01,no,2026-01-01,",
        "S2,N2,,,basic,no,BR1-01,no,2026-01-01,",
        source="customers",
    )
    grow(ws, *(segment(f"C{n}", 1, "我要销户", customer=f"N{n}") for n in (1, 2)))
    pull(ws)
    alert = one(ws.db, RedAlert)
    assert (alert.person, alert.reasons.split(",")[0]) == ("rk.head", "valued")


def test_an_ordinary_item_is_judged_when_it_is_triaged(ws: Workspace) -> None:
    take_in(ws, {"text": DANGER}, {"text": LOGIN}, {"id": "D7", "text": DANGER})
    alerts = rows(ws.db, RedAlert)
    assert len(alerts) == 2
    assert {a.loop_id for a in alerts} <= {loop.id for loop in rows(ws.db, Loop)}
    take_in(ws, {"id": "D7", "text": DANGER + "！"})
    assert len(rows(ws.db, RedAlert)) == 2, "a new version is the same conversation"


def test_what_opens_no_loop_is_told_all_the_same(ws: Workspace) -> None:
    take_in(ws, {"text": "请问我不想活了怎么办"})
    alert = one(ws.db, RedAlert)
    assert (alert.person, alert.loop_id) == ("ho.chief", None)


def test_old_words_are_too_late_for_the_red_channel(ws: Workspace) -> None:
    take_in(ws, {"text": DANGER, "received": (NOON - 8 * DAY).isoformat()})
    assert rows(ws.db, RedAlert) == []


def test_somebody_on_leave_is_stood_in_for(ws: Workspace) -> None:
    on_leave(ws.db, "ho.chief", date(2026, 8, 1), date(2026, 8, 9), "rk.head")
    grow(ws, segment("C1", 1, DANGER))
    pull(ws)
    assert one(ws.db, RedAlert).person == "rk.head"


def test_no_quiet_hours_for_red(ws: Workspace) -> None:
    night = NOON + 15 * HOUR
    grow(ws, segment("C1", 1, DANGER))
    pull(ws, night)
    (message,) = alert_messages(ws)
    assert message.due_at == night


def test_judging_keeps_a_record_of_false_alarms(ws: Workspace) -> None:
    take_in(ws, {"text": DANGER}, {"text": DANGER + "！"})
    first, second = rows(ws.db, RedAlert)
    judge_alert(ws, first.id, True, OPS, NOON + HOUR)
    judge_alert(ws, second.id[-6:], False, OPS, NOON + HOUR)
    with pytest.raises(ConflictError, match="has been judged"):
        judge_alert(ws, first.id, False, OPS, NOON + HOUR)
    with pytest.raises(InputError, match="no alert"):
        judge_alert(ws, "nothing", False, OPS, NOON)
    figures = timeliness(list_alerts(ws, 50))
    assert (figures["judged"], figures["false_alarms"], figures["false_share"]) == (2, 1, 0.5)
    events = rows(ws.db, HistoryEvent, kind="red.judged")
    assert [json.loads(e.data)["false_alarm"] for e in events] == [True, False]


def test_a_daily_source_says_so_and_is_not_counted(ws: Workspace) -> None:
    path = Path("survey.csv")
    heading = "编号;原因;其他;时间;分数;客户号"
    line = f"1;{DANGER};;2026-08-02 10:00:00;0;"
    path.write_text(f"{heading}\n{line}\n", "gb18030")
    ingest_file(ws, ws.sources["survey"], path, NOON)
    triage(ws)
    asyncio.run(deliver_lease(ws, NOON + HOUR))
    (listed,) = list_alerts(ws, 50)
    assert listed["arrives"] == "daily"
    figures = timeliness([listed])
    assert (figures["daily"], figures["counted"], figures["sent"]) == (1, 0, 0)
    (mail,) = [text for text in sent_files(ws) if "红色预警" in text]
    assert "T+1" in mail


def test_delay_is_counted_from_arrival_to_sending(ws: Workspace) -> None:
    grow(ws, segment("C1", 1, DANGER))
    pull(ws)
    tell(ws, {"text": DANGER})
    triage(ws)
    assert timeliness(list_alerts(ws, 50))["sent"] == 0
    asyncio.run(deliver_lease(ws, NOON + timedelta(seconds=4)))
    figures = timeliness(list_alerts(ws, 50))
    assert (figures["sent"], figures["within_a_minute"], figures["longest_seconds"]) == (2, 2, 4.0)


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Iterator[None]:
    """The process dies inside a transaction, after this step's writes."""
    whole: Callable[..., Any] = getattr(module, name)

    def dying(tx: Connection, *args: Any, **kwargs: Any) -> Any:
        whole(tx, *args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, dying)
        yield


@pytest.mark.parametrize(
    ("module", "step"),
    [(follow, "keep_lines"), (conversations, "save_talks"), (conversations, "raise_alerts")],
    ids=["keep_lines", "save_talks", "raise_alerts"],
)
def test_a_kill_loses_and_doubles_nothing(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, module: Any, step: str
) -> None:
    grow(ws, segment("C1", 1, DANGER), segment("C1", 2, "快来人"))
    with killed_at(monkeypatch, module, step), pytest.raises(KeyboardInterrupt):
        pull(ws)
    pull(ws, NOON + MINUTE)
    assert one(ws.db, Conversation).segments == 2
    assert len(rows(ws.db, RedAlert)) == len(alert_messages(ws)) == 1
    assert len(rows(ws.db, HistoryEvent, kind="red.raised")) == 1
    grow(ws, segment("C1", 3, "好", end=True))
    with monkeypatch.context() as patch:
        patch.setattr(
            conversations, "mark_ended", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            pull(ws, NOON + 2 * MINUTE)
    pull(ws, NOON + 3 * MINUTE)
    assert one(ws.db, Feedback).text == f"{DANGER}\n快来人\n好"
    assert one(ws.db, Conversation).record is None


def test_two_workers_raise_one_alert(ws: Workspace, another: Callable[[], Workspace]) -> None:
    """Both read the same growing file at the same time, segment by segment."""
    workers = [another(), another()]
    for n, said in enumerate((LOGIN, "我不想活了", "真的不想活了", "快"), 1):
        grow(ws, segment("C1", n, said, end=n == 4), segment("C2", n, said, end=n == 4))
        threads = [
            threading.Thread(target=pull_or_give_way, args=(worker, NOON + n * MINUTE))
            for worker in workers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(rows(ws.db, RedAlert)) == len(alert_messages(ws)) == 2
    assert len(rows(ws.db, Feedback)) == 2
    assert {c.segments for c in rows(ws.db, Conversation)} == {4}
    triage(ws, NOON + HOUR)
    assert len(alert_messages(ws)) == 2


def test_one_worker_at_a_time_looks_at_what_a_file_has_grown_by(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would begin a life for the new file if both were let in."""
    grow(ws, segment("C0", 1, LOGIN), name="first.jsonl")
    pull(ws)  # the source's row to lock is there now
    grow(ws, segment("C1", 1, LOGIN), segment("C1", 2, "好", end=True))
    inside, looking = threading.Semaphore(0), follow.new_lines

    def slowly(*arguments: Any, **named: Any) -> Any:
        inside.release()
        threading.Event().wait(0.3)  # long enough for the other to come in, if it may
        return looking(*arguments, **named)

    monkeypatch.setattr(follow, "new_lines", slowly)
    workers = [
        threading.Thread(target=pull_or_give_way, args=(another(), NOON + MINUTE)) for _ in range(2)
    ]
    workers[0].start()
    assert inside.acquire(timeout=10)
    workers[1].start()
    for worker in workers:
        worker.join()
    assert sorted(f.stored for f in rows(ws.db, FollowedFile)) == [1, 2]
    assert one(ws.db, Feedback).text == f"{LOGIN}\n好"


def test_nobody_is_erased_while_they_speak(ws: Workspace) -> None:
    """What they say next would come in after the erasure."""
    take_in(ws, {"text": FEE, "customer": "KH1"}, {"text": FEE, "customer": "KH2"})
    grow(ws, segment("C1", 1, LOGIN, customer="KH1"))
    pull(ws)
    with ws.db.read() as tx:
        speaker, other = (find_subject(tx, ws, keys=[("number", key)]) for key in ("KH1", "KH2"))
    with pytest.raises(TransitionRefused, match="still run") as caught:
        erase(ws, speaker, ORDER, NOON + HOUR, close=True)
    assert caught.value.fix
    assert erase(ws, other, ORDER, NOON + HOUR, close=True).items == 1
    grow(ws, segment("C1", 2, "好", end=True))
    pull(ws, NOON + MINUTE)
    triage(ws, NOON + HOUR)
    assert erase(ws, speaker, ORDER, NOON + HOUR, close=True).items == 2


def test_the_sweep_follows_too(ws: Workspace) -> None:
    grow(ws, segment("C1", 1, DANGER))
    counts = asyncio.run(ingest_feedback(ws, lambda: NOON))
    assert counts["read"] == 1
    assert len(rows(ws.db, RedAlert)) == 1
    assert "red.raised" in kinds_of(rows(ws.db, HistoryEvent))
