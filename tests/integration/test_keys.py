"""A signing key is replaced: on record first, then in use, and the old one is never believed."""

import json
from typing import Any

import pytest

from loopwright.errors import EnvironmentFault, InputError
from loopwright.history import note
from loopwright.history.checkpoints import SealRefused
from loopwright.history.keys import Signer
from loopwright.history.note import SigningKey
from loopwright.history.verify import Report, verify
from models.history import AuditCheckpoint, HistoryEvent
from models.kinds import EventKind
from tasks.audit.seal_history import key_problem, renewed, seal
from tasks.workspace import Workspace
from tests.cast import NOON, OPS, open_some, rows
from tests.integration.test_seal import KEY, ORIGIN, sealing, set_checkpoint

__all__ = ["sealing"]

NEXT = SigningKey(ORIGIN, bytes(range(1, 33)))
THIRD = SigningKey(ORIGIN, bytes(range(2, 34)))


def signing_with(ws: Workspace, key: SigningKey, *former: SigningKey) -> Workspace:
    known = tuple(str(one.public) for one in former)
    audit = type(ws.settings.audit)(key=key.line.strip(), former_keys=known)
    return Workspace(ws.settings.model_copy(update={"audit": audit}), ws.db, ws.run)


def verified(ws: Workspace, *keys: SigningKey) -> Report:
    with ws.db.read() as tx:
        return verify(tx, Signer(tuple(key.public for key in keys)))


def changed(ws: Workspace) -> Workspace:
    """Sealed by the first key, then by the second."""
    assert seal(ws, NOON)
    renewed(ws, NEXT.public, "its year is over", OPS, NOON)
    after = signing_with(ws, NEXT, KEY)
    assert seal(after, NOON)
    return after


def test_a_new_key_signs_once_that_is_on_record(sealing: Workspace) -> None:
    assert seal(sealing, NOON)
    open_some(sealing, 1)
    after = signing_with(sealing, NEXT, KEY)
    with pytest.raises(EnvironmentFault, match="another key than that of this process"):
        seal(after, NOON)
    assert key_problem(after, NEXT.public)
    renewed(sealing, NEXT.public, "its year is over", OPS, NOON)
    (event,) = rows(sealing.db, HistoryEvent, kind=EventKind.HISTORY_KEY_RENEWED)
    assert (json.loads(event.data), event.actor_id) == ({"key": str(NEXT.public)}, OPS.id)
    assert event.body_commit
    with pytest.raises(EnvironmentFault, match="names another key"):
        seal(sealing, NOON)
    assert not key_problem(after, NEXT.public)
    assert seal(after, NOON)
    open_some(after, 1)
    assert seal(after, NOON)
    assert not rows(sealing.db, HistoryEvent, kind=EventKind.HISTORY_SEAL_REFUSED)
    report = verified(after, NEXT, KEY)
    assert report.ok
    assert report.checkpoints == 3


def test_verifying_needs_every_key_that_signed(sealing: Workspace) -> None:
    after = changed(sealing)
    assert "not signed" in str(verified(after, NEXT).problem)
    assert "not known here" in str(verified(after, KEY).problem)
    assert verified(after, NEXT, KEY).ok


def test_a_stolen_former_key_signs_nothing_that_is_believed(sealing: Workspace) -> None:
    """The thief has the database too, and signs the newest checkpoint with the old key."""
    after = changed(sealing)
    newest = rows(after.db, AuditCheckpoint)[-1]
    said = note.Checkpoint(ORIGIN, newest.size, newest.root)
    set_checkpoint(note=note.sign(said, KEY))(after)
    assert "not signed" in str(verified(after, NEXT, KEY).problem)
    open_some(after, 1)
    with pytest.raises(SealRefused):
        seal(after, NOON)


def test_the_signer_needs_the_former_keys_until_its_own_has_signed(sealing: Workspace) -> None:
    assert seal(sealing, NOON)
    renewed(sealing, NEXT.public, "lost", OPS, NOON)
    with pytest.raises(EnvironmentFault, match="former_keys"):
        seal(signing_with(sealing, NEXT), NOON)
    assert seal(signing_with(sealing, NEXT, KEY), NOON)
    open_some(sealing, 1)
    assert seal(signing_with(sealing, NEXT), NOON)


@pytest.mark.parametrize("key", [KEY, NEXT], ids=["the first", "a later one"])
def test_no_key_comes_back(sealing: Workspace, key: SigningKey) -> None:
    after = changed(sealing)
    renewed(after, THIRD.public, "again", OPS, NOON)
    with pytest.raises(InputError, match="signed before"):
        renewed(after, key.public, "back", OPS, NOON)


def test_a_key_of_another_history_is_refused(sealing: Workspace) -> None:
    assert seal(sealing, NOON)
    with pytest.raises(InputError, match="is called"):
        renewed(sealing, SigningKey("other", bytes(32)).public, "wrong", OPS, NOON)


def test_former_keys_that_are_none_are_a_fault_of_the_settings(sealing: Workspace) -> None:
    other: Any = SigningKey("other", bytes(32))
    with pytest.raises(EnvironmentFault, match="former_keys"):
        seal(signing_with(sealing, KEY, other), NOON)
