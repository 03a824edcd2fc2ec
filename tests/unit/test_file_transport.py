"""What the file transport leaves on disk, and the mail that both transports write."""

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email import policy as mail_policies
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.file_transport import FileTransport
from notifications.mail import build_mail
from notifications.registry import TRANSPORTS
from notifications.transport import (
    Outgoing,
    TransportError,
    TransportSettings,
    message_id,
    thread_id,
)

SECRET = b"a secret of this installation"
OUTGOING = Outgoing(
    message_id=message_id("ticket:T1:assigned", SECRET, "cx.example"),
    to="epay@bank.example",
    subject="[T261121-7K3Q9FAB] P2 新工单：手机银行登录失败",
    text="电子银行部负责同事：您好！\n",
    html="<!doctype html><html><body>您好</body></html>",
    at=datetime(2026, 11, 21, 1, 5, tzinfo=UTC),
    thread_id=thread_id("L1", SECRET, "cx.example"),
    number="T261121-7K3Q9FAB",
    unit="epay",
)
SENDER = "客户体验 <cx@bank.example>"


def send(folder: Path, *messages: Outgoing) -> list[str]:
    async def all_of_them() -> list[str]:
        transport = FileTransport(folder, SENDER)
        receipts = [await transport.send(message) for message in messages]
        await transport.close()
        return [receipt.reference for receipt in receipts]

    return asyncio.run(all_of_them())


def read(path: Path) -> EmailMessage:
    mail = message_from_bytes(path.read_bytes(), policy=mail_policies.default)
    assert isinstance(mail, EmailMessage)
    return mail


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_one_readable_set_per_message_in_the_units_folder(tmp_path: Path) -> None:
    (reference,) = send(tmp_path, OUTGOING)
    stem = reference.removesuffix(".eml")
    assert stem.startswith("epay/T261121-7K3Q9FAB-")
    assert files(tmp_path) == {f"{stem}.eml", f"{stem}.txt", f"{stem}.html"}
    assert (tmp_path / f"{stem}.html").read_text("utf-8") == OUTGOING.html
    plain = (tmp_path / f"{stem}.txt").read_text("utf-8")
    assert plain == f"{OUTGOING.subject}\n\n{OUTGOING.text}"


def test_the_mail_says_what_it_is_and_threads(tmp_path: Path) -> None:
    (reference,) = send(tmp_path, OUTGOING)
    mail = read(tmp_path / reference)
    assert mail["Subject"] == OUTGOING.subject
    assert mail["Message-ID"] == OUTGOING.message_id
    assert mail["In-Reply-To"] == mail["References"] == OUTGOING.thread_id
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "OOF, AutoReply"
    assert mail["X-Loopwright-Ticket"] == OUTGOING.number
    assert mail["Date"].datetime == OUTGOING.at
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert plain.get_content().splitlines() == OUTGOING.text.splitlines()
    assert html.get_content().strip() == OUTGOING.html


def test_sending_again_changes_nothing(tmp_path: Path) -> None:
    first = send(tmp_path, OUTGOING)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.*")}
    assert send(tmp_path, OUTGOING, OUTGOING) == first * 2
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.*")}
    assert after == before


def test_two_folders_get_the_same_bytes(tmp_path: Path) -> None:
    (reference,) = send(tmp_path / "a", OUTGOING)
    send(tmp_path / "b", OUTGOING)
    one, other = (tmp_path / name / reference for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_other_messages_get_other_files(tmp_path: Path) -> None:
    other = replace(OUTGOING, message_id=message_id("ticket:T1:again", SECRET, "cx.example"))
    nobody = replace(OUTGOING, unit="", number="")
    references = send(tmp_path, OUTGOING, other, nobody)
    assert len(set(references)) == 3
    assert references[2].startswith("other/")


@pytest.mark.parametrize("unit", ["../../etc", "/etc", "a/b", "..", "C:\\x", "a\x00b"])
def test_no_name_leaves_the_folder(tmp_path: Path, unit: str) -> None:
    (reference,) = send(tmp_path / "out", replace(OUTGOING, unit=unit, number=unit))
    written = (tmp_path / "out" / reference).resolve()
    assert written.is_relative_to((tmp_path / "out").resolve())
    assert files(tmp_path) == {f"out/{name}" for name in files(tmp_path / "out")}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_refusing_disk_is_tried_again(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TransportError) as caught:
        send(tmp_path, OUTGOING)
    assert not caught.value.permanent


def test_a_folder_that_is_a_file_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "epay").write_text("in the way")
    with pytest.raises(TransportError, match="cannot write") as caught:
        send(tmp_path, OUTGOING)
    assert not caught.value.permanent
    assert files(tmp_path) == {"epay"}


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "x\r\nBcc: all@evil.example"},
        {"subject": "x\ny"},
        {"to": "a@b.example\r\nBcc: all@evil.example"},
        {"message_id": "<a@b>\r\nX: y"},
        {"thread_id": "<a@b>\nX: y"},
        {"number": "T1\r\nX: y"},
        {"headers": {"X-More": "a\nb"}},
    ],
)
def test_no_field_adds_a_header(change: dict[str, object]) -> None:
    with pytest.raises(TransportError) as caught:
        build_mail(replace(OUTGOING, **change), SENDER)  # type: ignore[arg-type]
    assert caught.value.permanent
    assert "evil" not in caught.value.reason


@given(st.text(max_size=200))
def test_any_subject_is_one_header_or_refused(subject: str) -> None:
    try:
        raw = build_mail(replace(OUTGOING, subject=subject), SENDER).as_bytes()
    except TransportError:
        return
    head = raw.split(b"\r\n\r\n", 1)[0]
    names = [line.split(b":")[0] for line in head.split(b"\r\n") if not line.startswith(b" ")]
    plain = build_mail(OUTGOING, SENDER).as_bytes().split(b"\r\n\r\n", 1)[0]
    expected = [line.split(b":")[0] for line in plain.split(b"\r\n") if not line.startswith(b" ")]
    assert names == expected


@pytest.mark.parametrize("length", [60, 77, 78, 120, 400])
def test_long_foreign_ids_are_not_encoded(length: int) -> None:
    foreign = f"<{'a' * length}@mail.example>"
    raw = build_mail(replace(OUTGOING, thread_id=foreign), SENDER).as_bytes()
    assert f"In-Reply-To: {foreign}\r\n".encode() in raw


def test_ids_are_stable_unguessable_and_short() -> None:
    made = message_id("key", SECRET, "cx.example")
    assert made == message_id("key", SECRET, "cx.example")
    assert made != message_id("key", b"another", "cx.example")
    assert made != thread_id("key", SECRET, "cx.example")
    assert "key" not in made
    assert len(message_id("k" * 500, SECRET, "d" * 43)) == 70
    with pytest.raises(ValueError, match="mail domain"):
        message_id("key", SECRET, "d" * 44)


def test_registry_makes_what_settings_name(tmp_path: Path) -> None:
    settings = TransportSettings(sender=SENDER, folder=tmp_path)
    assert {kind: make(settings).kind for kind, make in TRANSPORTS.items()} == {
        "file": "file",
        "smtp": "smtp",
        "wecom_robot": "wecom_robot",
    }
