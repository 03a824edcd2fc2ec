"""Only whole checked sets run, every version stays, and old decisions replay by their own."""

import pytest

from loopwright.errors import DocumentError, EnvironmentFault
from models.document import Document, Publication
from models.history import HistoryEvent
from models.kinds import EventKind
from models.loop import Loop
from tasks.documents.publish import publish, published, set_hash
from tasks.explain import explain_loop
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    LOGIN,
    NOON,
    OPS,
    a_loop,
    document,
    documents,
    number_of,
    one,
    rows,
    sound,
    take_in,
)

RENAMED = document("policy").replace("id: ordinary", "id: the-rest").replace(
    "rule: ordinary", "rule: the-rest"
)  # fmt: skip
BROKEN: list[tuple[str, str, str]] = [
    ("policy", document("policy").replace("topic == 'lost'", "topic == "), "policy.yaml"),
    ("policy", document("policy").replace("topic == 'lost'", "colour == 'red'"), "policy.yaml"),
    ("policy", document("policy").replace("expect: {rule: lost", "expect: {rule: queue"), "policy"),
    ("policy", document("policy").replace("unit:RK", "unit:XX"), "XX"),
    ("taxonomy", document("taxonomy").replace("owner: DB", "owner: NOBODY"), "NOBODY"),
    ("organisation", "units: [", "organisation.yaml"),
    ("sources", document("sources").replace("kind: jsonl", "kind: smoke"), "sources.yaml"),
]


@pytest.mark.parametrize(("name", "text", "named"), BROKEN)
def test_a_broken_set_is_refused_whole(ws: Workspace, name: str, text: str, named: str) -> None:
    before = [number_of(ws.db, m) for m in (Publication, Document, HistoryEvent)]
    with pytest.raises(DocumentError) as caught:
        publish(ws.db, documents(**{name: text}), OPS, NOON)
    assert any(named in mistake for mistake in caught.value.mistakes)
    assert all("→" in mistake for mistake in caught.value.mistakes)
    assert [number_of(ws.db, m) for m in (Publication, Document, HistoryEvent)] == before
    assert published(ws.db).number == 1


def test_versions_are_kept_byte_for_byte(ws: Workspace) -> None:
    new = documents(policy=RENAMED)
    assert publish(ws.db, new, OPS, NOON + DAY).number == 2
    assert published(ws.db).files == new
    assert published(ws.db, 1).files == documents()
    assert published(ws.db).sha256 == set_hash(new) != set_hash(documents())
    event = rows(ws.db, HistoryEvent, kind=EventKind.DOCUMENTS_PUBLISHED)[-1]
    assert set_hash(new) in event.data
    assert event.actor_id == "cx.ops"
    assert sound(ws.db)


def test_an_unknown_publication(ws: Workspace) -> None:
    with pytest.raises(EnvironmentFault, match="no publication 9"):
        published(ws.db, 9)


def test_a_loop_keeps_the_publication_it_was_judged_by(ws: Workspace) -> None:
    old = a_loop(ws, LOGIN, customer="C1")
    publish(ws.db, documents(policy=RENAMED), OPS, NOON + DAY)
    renewed = Workspace(ws.settings, ws.db)
    take_in(renewed, {"text": LOGIN, "customer": "C2"}, now=NOON + DAY)
    new = next(row for row in rows(ws.db, Loop) if row.id != old.id)
    assert (one(ws.db, Loop, id=old.id).policy, old.rule) == ("1", "ordinary")
    assert (new.policy, new.rule) == ("2", "the-rest")
    for loop, number, rule in ((old, 1, "ordinary"), (new, 2, "the-rest")):
        reasons = explain_loop(renewed, loop.id, "en")
        assert (reasons["publication"], reasons["rule"]) == (number, rule)
        last = reasons["rules"][-1]
        assert (last["rule"], last["matched"]) == (rule, True)
        assert not any(earlier["matched"] for earlier in reasons["rules"][:-1])


def test_a_running_worker_keeps_its_publication(ws: Workspace) -> None:
    assert ws.published.number == 1
    publish(ws.db, documents(policy=RENAMED), OPS, NOON)
    assert a_loop(ws, LOGIN).policy == "1"
    assert Workspace(ws.settings, ws.db, publication=1).published.number == 1


@pytest.mark.parametrize("language", ["zh", "en"])
def test_reasons_are_whole(ws: Workspace, language: str) -> None:
    loop = a_loop(ws, "盗刷了，投诉", customer="C1")
    reasons = explain_loop(ws, loop.id, language)
    assert reasons["rule"] == "fraud"
    assert reasons["title"] == {"zh": "盗刷", "en": "Disputed spending"}[language]
    assert reasons["clauses"] == [
        {"text": "topic == 'dispute'", "holds": True, "values": {"topic": "dispute"}}
    ]
    assert {"about": "topic", "words": "盗刷", "by": "rule"} in [
        {**e, "by": "rule"} for e in reasons["evidence"]
    ]
    assert reasons["features"]["has_customer"] is True
