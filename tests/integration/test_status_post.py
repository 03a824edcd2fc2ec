"""The status of imported cases, posted so that the other system can trust it."""

import json
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from loopwright.errors import EnvironmentFault
from loopwright.settings import Cases, Settings
from models.history import HistoryEvent
from models.kinds import EventKind
from notifications.signed_post import PostFailed, headers, key_of, signature
from tasks.moving_in import status_back
from tasks.moving_in.status_back import as_csv, post_statuses, statuses, write_statuses
from tasks.workspace import Workspace
from tests.cast import NOON, OPS, rows
from tests.integration.test_import_loops import case, moved, take

__all__ = ["moved"]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver(HTTPServer):
    """The older system: keeps what it is sent, answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 204
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/status?token=hidden"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def posting(ws: Workspace, address: str, secret: str = SECRET) -> Workspace:
    ws.settings = ws.settings.model_copy(
        update={"cases": Cases.model_validate({"post_to": address, "secret": secret})}
    )
    return ws


def send(ws: Workspace) -> int:
    spec = ws.sources["old"]
    return post_statuses(ws, spec, statuses(ws, spec), OPS, NOON)


def test_a_signature_as_published() -> None:
    # The example of the Standard Webhooks reference implementations.
    body = b'{"test": 2432232314}'
    signed = signature(key_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "not base64 at all !"])
def test_a_weak_secret_is_refused(secret: str) -> None:
    with pytest.raises(EnvironmentFault, match="no Standard Webhooks secret"):
        key_of(secret)


def test_what_is_posted_can_be_checked(moved: Workspace, receiver: Receiver) -> None:
    take(moved, case(1), case(2))
    assert send(posting(moved, receiver.address)) == 1
    ((got, body),) = receiver.got
    given = headers(key_of(SECRET), body, NOON)
    assert {name: got[name] for name in given} == given
    assert (
        signature(key_of(SECRET), got["webhook-id"], int(got["webhook-timestamp"]), body)
        == got["webhook-signature"]
    )
    posted = json.loads(body)
    assert (posted["type"], posted["data"]["source"]) == ("cases.changed", "old")
    assert [i["number"] for i in posted["data"]["items"]] == ["OLD-0001", "OLD-0002"]


def left(ws: Workspace) -> list[tuple[Any, ...]]:
    names = ("source", "cases", "to", "host", "sha256")
    events = rows(ws.db, HistoryEvent, kind=EventKind.CASES_EXPORTED)
    assert {(event.actor_id, event.actor_via) for event in events} <= {(OPS.id, "cli")}
    return [tuple(json.loads(event.data)[name] for name in names) for event in events]


def test_what_leaves_is_in_the_history_first(moved: Workspace, receiver: Receiver) -> None:
    """Also where nobody takes it; neither a token of the address nor a number of a case."""
    take(moved, case(1), case(2))
    send(posting(moved, receiver.address))
    (body,) = (body for _, body in receiver.got)
    said = ("old", 2, "post", "127.0.0.1", sha256(body).hexdigest())
    assert left(moved) == [said]
    receiver.status = 500
    with pytest.raises(PostFailed):
        send(moved)
    assert left(moved) == [said, said]
    event = rows(moved.db, HistoryEvent, kind=EventKind.CASES_EXPORTED)[0]
    assert "hidden" not in event.envelope
    assert "OLD-0001" not in event.envelope


def test_a_file_of_them_is_in_the_history(moved: Workspace, home: Path) -> None:
    take(moved, case(1), case(2))
    spec = moved.sources["old"]
    found = statuses(moved, spec)
    write_statuses(moved, spec, found, home / "status.csv", OPS, NOON)
    written = (home / "status.csv").read_bytes()
    assert written.decode("utf-8-sig") == as_csv(found)
    assert left(moved) == [("old", 2, "file", None, sha256(written).hexdigest())]
    with pytest.raises(EnvironmentFault, match="no folder"):
        write_statuses(moved, spec, found, home / "nowhere" / "status.csv", OPS, NOON)
    moved.db.dry_run = True
    write_statuses(moved, spec, found, home / "never.csv", OPS, NOON)
    moved.db.dry_run = False
    assert not (home / "never.csv").exists()
    assert len(left(moved)) == 1


def test_the_same_again_has_the_same_id(moved: Workspace, receiver: Receiver) -> None:
    take(moved, case(1))
    ws = posting(moved, receiver.address)
    send(ws)
    send(ws)
    assert len({got["webhook-id"] for got, _ in receiver.got}) == 1


def test_many_go_in_several_messages(
    moved: Workspace, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_back, "PAGE", 2)
    take(moved, case(1), case(2), case(3))
    assert send(posting(moved, receiver.address)) == 2
    assert len(receiver.got) == 2


def test_a_refusal_is_said_without_the_address(moved: Workspace, receiver: Receiver) -> None:
    take(moved, case(1))
    receiver.status = 500
    with pytest.raises(PostFailed, match="HTTP 500") as caught:
        send(posting(moved, receiver.address))
    assert "hidden" not in str(caught.value)


def test_nobody_there(moved: Workspace) -> None:
    take(moved, case(1))
    with pytest.raises(PostFailed, match="ConnectError"):
        send(posting(moved, "http://127.0.0.1:9/x"))


def test_without_an_address_nothing_is_posted(moved: Workspace) -> None:
    with pytest.raises(EnvironmentFault, match="nothing says where"):
        send(moved)


def test_a_dry_run_posts_nothing(moved: Workspace, receiver: Receiver) -> None:
    take(moved, case(1))
    ws = posting(moved, receiver.address)
    ws.db.dry_run = True
    assert send(ws) == 1
    assert receiver.got == []
    ws.db.dry_run = False
    assert left(ws) == []


def test_an_address_is_encrypted_or_here(home: Path) -> None:
    assert home
    with pytest.raises(ValueError, match="https, or http on this machine"):
        Settings.model_validate({"cases": {"post_to": "http://elsewhere.example/x"}})
