"""PostgreSQL's roles: the product works as one that cannot alter or unguard the history."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

import tasks.start
from loopwright.db import Database
from loopwright.errors import RightMissing
from loopwright.history.keys import Signer
from loopwright.history.note import SigningKey
from loopwright.history.verify import verify
from loopwright.migrate import require_current, upgrade
from loopwright.roles import Roles, layout
from models.history import EventBody
from models.issue import Issue
from models.kinds import Answer, IssueKind
from models.loop import Loop
from tasks.audit.replay import replay
from tasks.audit.seal_history import seal
from tasks.documents.publish import publish
from tasks.merge import merge, unmerge
from tasks.routing.decide import decide_issue
from tasks.start import record_version
from tasks.sweeps import (
    deliver_messages,
    review_causes,
    seal_history,
    triage_feedback,
    verify_resolutions,
    watch_clocks,
)
from tasks.tickets.hand_off import accept, resolve, transfer
from tasks.verification.answers import answer
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LOGIN,
    NOON,
    OPS,
    UNCLEAR,
    UPDATE,
    ZHANG,
    documents,
    number_of,
    open_some,
    rows,
    settings_for,
    sound,
    tell,
    ticket_of,
)

ROLES = Roles.named("test")
KEY = SigningKey("bank.example/loop", bytes(range(32)))


@pytest.fixture
def laid_out(prepared_postgres: str, postgres: Any) -> Iterator[str]:
    """A database whose tables belong to the owner; the layout was run twice."""
    address = postgres.create(prepared_postgres)
    db = Database(address)
    for _ in range(2):
        with db.begin() as tx:
            tx.exec_driver_sql(layout(ROLES))
    db.close()
    yield address
    postgres.drop(address)


@pytest.fixture
def acting(laid_out: str, home: Any) -> Iterator[Callable[[str], Workspace]]:
    """A workspace as one of the roles."""
    made: list[Database] = []

    def make(role: str) -> Workspace:
        url = make_url(laid_out).set(username=role).render_as_string(hide_password=False)
        made.append(Database(url))
        with made[-1].read() as tx:
            assert tx.execute(text("SELECT current_user")).scalar() == role
        settings = settings_for(url, home)
        settings.audit.key = KEY.line  # type: ignore[assignment]
        return Workspace(type(settings)(**settings.model_dump()), made[-1], run="as-role")

    yield make
    for db in made:
        db.close()


def a_day(ws: Workspace) -> None:
    """Everything the product does of a day."""
    a_day_without_signing(ws)
    assert seal(ws, NOON)


def a_day_without_signing(ws: Workspace) -> None:
    publish(ws.db, documents(), OPS, NOON)
    require_current(ws.db)
    tell(
        ws,
        {"text": LOGIN, "customer": "C1", "phone": "13800138000"},
        {"text": FEE, "customer": "C2"},
        {"text": UPDATE, "customer": "C3"},
        {"text": UNCLEAR, "customer": "C4"},
    )
    run(ws, triage_feedback)
    waiting = rows(ws.db, Issue, state="triage")[0]
    decide_issue(ws, waiting.id, IssueKind.COMPLAINT, "login", OPS, NOON)
    first, second, *_ = rows(ws.db, Loop, kind="small")
    merge(ws, first.id, second.id, OPS, NOON)
    unmerge(ws, first.id, OPS, NOON)
    held = ticket_of(ws, first.id)
    transfer(ws, held.id, "DB" if held.unit == "CC" else "CC", "归他们", ZHANG, NOON)
    accept(ws, ticket_of(ws, first.id).id, ZHANG, NOON)
    resolve(ws, ticket_of(ws, first.id).id, "C01", "已处理", ZHANG, NOON)
    run(ws, verify_resolutions)
    answer(ws, first.id, Answer.NO, "还是不行", OPS, NOON + HOUR)
    for sweep in (watch_clocks, review_causes, deliver_messages):
        run(ws, sweep)


def run(ws: Workspace, sweep: Any) -> None:
    asyncio.run(sweep(ws, lambda: NOON + 5 * DAY if sweep is watch_clocks else NOON))


def test_the_product_works_as_the_application(acting: Callable[[str], Workspace]) -> None:
    ws = acting(ROLES.application)
    a_day(ws)
    assert sound(ws.db)


REFUSED = [
    "UPDATE history_event SET actor_id = 'forged' WHERE seq = 2",
    "DELETE FROM history_event WHERE seq = 2",
    "TRUNCATE history_event",
    "ALTER TABLE history_event DISABLE TRIGGER ALL",
    "DROP TRIGGER guard_history_event_update ON history_event",
    "DROP TABLE history_event",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION guard_history() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN NULL; END'",
    "CREATE TABLE mine (id int)",
    "UPDATE event_body SET body = '{}'",
    "TRUNCATE event_body",
    "UPDATE audit_checkpoint SET note = 'forged'",
    "DELETE FROM audit_checkpoint",
    "DELETE FROM audit_head",
    "UPDATE document SET content = 'forged'",
    "DELETE FROM publication",
    "UPDATE alembic_version SET version_num = '0001'",
]


@pytest.mark.parametrize("role", ["application", "eraser", "signer", "auditor"])
def test_nobody_but_the_owner_alters_the_history(
    acting: Callable[[str], Workspace], role: str
) -> None:
    ws = acting(getattr(ROLES, role))
    for statement in REFUSED:
        refused(ws.db, statement)


def refused(db: Database, statement: str) -> None:
    with pytest.raises(RightMissing), db.begin() as tx:
        tx.execute(text(statement))


def test_only_the_eraser_deletes_bodies(acting: Callable[[str], Workspace]) -> None:
    gone = "DELETE FROM event_body"
    for role in (ROLES.application, ROLES.signer, ROLES.auditor):
        refused(acting(role).db, gone)
    ws = acting(ROLES.eraser)
    with ws.db.begin() as tx:
        tx.execute(text(gone))
    assert number_of(ws.db, EventBody) == 0


def test_the_owner_is_refused_by_the_triggers(acting: Callable[[str], Workspace]) -> None:
    db = acting(ROLES.owner).db
    for statement in ("UPDATE history_event SET kind = 'x'", "TRUNCATE history_event"):
        with pytest.raises(DBAPIError, match="append-only"), db.begin() as tx:
            tx.execute(text(statement))
    upgrade(db)


def test_an_auditor_reads_everything_and_writes_nothing(
    acting: Callable[[str], Workspace],
) -> None:
    a_day(acting(ROLES.application))
    db = acting(ROLES.auditor).db
    with db.read() as tx:
        assert verify(tx, Signer((KEY.public,))).ok
        assert replay(tx).differences == 0
    for statement in (
        "INSERT INTO correction SELECT * FROM correction",
        "UPDATE loop SET state = 'closed'",
        "DELETE FROM loop_issue",
        "UPDATE audit_checkpoint SET published = '[]'",
    ):
        refused(db, statement)


def test_a_signer_of_its_own(
    acting: Callable[[str], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = acting(ROLES.signer)
    ws.settings.audit.append_to = Path("checkpoints.txt")
    monkeypatch.setattr(tasks.start, "program_version", lambda: "another")
    record_version(ws, "run", NOON)
    assert asyncio.run(seal_history(ws, lambda: NOON))["sealed"] == 1
    assert "bank.example/loop" in Path("checkpoints.txt").read_text("utf-8")
    refused(ws.db, "SELECT * FROM feedback")
    refused(ws.db, "INSERT INTO history_event SELECT * FROM history_event")


def test_with_a_signer_of_its_own_the_application_adds_no_checkpoint(
    laid_out: str, acting: Callable[[str], Workspace]
) -> None:
    """Neither after the layout was run anew; nothing else is taken from the application."""
    admin = Database(laid_out)
    with admin.begin() as tx:
        tx.exec_driver_sql(layout(ROLES, own_signer=True))
    admin.close()
    ws = acting(ROLES.application)
    open_some(ws, 1)
    with pytest.raises(RightMissing, match="audit_checkpoint") as caught:
        seal(ws, NOON)
    assert "签署 loopwright_signer" in str(caught.value)
    refused(acting(ROLES.eraser).db, "INSERT INTO audit_checkpoint SELECT * FROM audit_checkpoint")
    assert seal(acting(ROLES.signer), NOON)
    a_day_without_signing(ws)
    assert sound(ws.db)


MISSING = [
    ("signer", "SELECT * FROM event_body", "无权读取", "may not read: event_body", "应用"),
    ("auditor", "SELECT * FROM audit_head FOR UPDATE", "无权更改", "change: audit_head", "应用"),
    ("signer", "INSERT INTO loop SELECT * FROM loop", "无权写入", "add rows to: loop", "应用"),
    ("auditor", "DELETE FROM event_body", "无权删除", "delete from: event_body", "删除"),
    ("eraser", "DELETE FROM history_event", "无权删除", "delete from: history_event", "属主"),
    ("auditor", "DROP TABLE loop", "无此权限", "may not do this: must be owner", "属主"),
    ("signer", "CREATE TABLE mine (id int)", "无此权限", "may not do this", "属主"),
]


@pytest.mark.parametrize(("role", "statement", "zh", "en", "fix"), MISSING)
def test_a_missing_right_is_said_in_words(
    acting: Callable[[str], Workspace], role: str, statement: str, zh: str, en: str, fix: str
) -> None:
    name = getattr(ROLES, role)
    with pytest.raises(RightMissing) as caught, acting(name).db.begin() as tx:
        tx.execute(text(statement))
    error = caught.value
    assert error.exit_code == 3
    assert f"数据库用户 {name} {zh}" in error.what
    assert en in error.what
    assert error.fix
    assert fix in error.fix


@pytest.mark.usefixtures("laid_out")
def test_the_owner_upgrades_from_nothing(postgres: Any) -> None:
    """The layout is for a schema that is there; a first upgrade needs a schema to create in."""
    address = postgres.create()
    admin = Database(address)
    with admin.begin() as tx:
        tx.exec_driver_sql(f"GRANT CREATE ON SCHEMA public TO {ROLES.owner}")
    owner = Database(make_url(address).set(username=ROLES.owner).render_as_string(False))
    upgrade(owner)
    with admin.begin() as tx:
        tx.exec_driver_sql(layout(ROLES))
    require_current(owner)
    owner.close()
    admin.close()
    postgres.drop(address)
