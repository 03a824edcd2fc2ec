"""The stand-alone verifier: good bundles pass, every broken one is refused with its reason."""

import io
import json
import os
import random
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from loopwright.history import tree
from loopwright.history.note import Checkpoint, SigningKey, sign
from tests import bundles
from tests.bundles import KEY, WITNESS, Log, Members, edited, export_loop, export_range
from tools import verify_history as verifier
from tools.verify_history import Refused

TOOL = Path(verifier.__file__)
VKEY, WITNESS_VKEY = str(KEY.public), str(WITNESS.public)
LOOP = "L260302-00000007"
OUTSIDE = ["erasures.ndjson", "publications.ndjson"]
COVERED = ["events.ndjson", "bodies.ndjson", *OUTSIDE, "exported.json", *bundles.CONFIG]


def small_log(**settings: Any) -> Log:
    """300 events of 30 loops; the body of seq 7 erased, seven checkpoints."""
    log = bundles.log_of(bundles.story(30, 10), 40, **settings)
    log.erase(7)
    return log


@cache
def whole() -> Members:
    return export_range(small_log(), 0, 301)


@cache
def part() -> Members:
    """A range in the middle, with an erasure outside of it."""
    return export_range(small_log(), 3, 200)


@cache
def loop() -> Members:
    return export_loop(small_log(), LOOP)


@cache
def key(vkey: str = VKEY) -> verifier.Key:
    return verifier.read_key(vkey)


def check(
    path: Path, *witnesses: str, held: Sequence[verifier.Checkpoint] = (), restored: bool = False
) -> tuple[verifier.Bundle, verifier.Found]:
    known = [key(w) for w in witnesses]
    return verifier.verify(path, [key()], known, [*held], restored=restored)


def refusal(path: Path, *witnesses: str, **more: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        check(path, *witnesses, **more)
    return caught.value


def said(path: Path) -> str:
    """The report's sentences."""
    bundle, found = check(path)
    return "\n".join(verifier.report(bundle, found, [], None))


# --- What is good passes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "events", "bodies", "erased"),
    [(whole, 301, 29, 1), (part, 200, 26, 1), (loop, 10, 0, 1)],
)
def test_good_bundles_pass(
    tmp_path: Path, make: Callable[[], Members], events: int, bodies: int, erased: int
) -> None:
    _, found = check(bundles.pack(tmp_path / "b.zip", make()))
    assert (found.events, found.bodies, found.erased) == (events, bodies, erased)


@pytest.mark.parametrize(("first", "count"), [(0, 1), (1, 1), (39, 2), (40, 40), (256, 44), (5, 1)])
def test_ranges_of_any_place(tmp_path: Path, first: int, count: int) -> None:
    log = small_log()
    _, found = check(bundles.pack(tmp_path / "b.zip", export_range(log, first, count)))
    assert (found.events, found.last_seq) == (count, first + count - 1)


def test_chosen_bodies(tmp_path: Path) -> None:
    log = small_log()
    some = [bundles.event_id(log, seq) for seq in (3, 7, 12)]
    _, found = check(bundles.pack(tmp_path / "b.zip", export_range(log, 0, 300, some)))
    assert (found.chosen, found.bodies, found.erased, len(found.erasures)) == (3, 2, 1, 1)
    _, found = check(bundles.pack(tmp_path / "b.zip", export_range(log, 0, 300, "none")))
    assert (found.chosen, found.bodies, found.erased) == (0, 0, 0)


def test_documents_as_published(tmp_path: Path) -> None:
    log = small_log()
    bundles.publish(log, 1)
    bundles.publish(log, 2)
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, 303))
    bundle, found = check(path)
    assert found.published.keys() == {"1", "2"}
    assert "3 of 2 publications, each as its event" in "".join(
        verifier.report(bundle, found, [], None)
    )


@pytest.mark.parametrize("outside", [1, 2, 3])
def test_documents_published_before_or_after_the_stretch(tmp_path: Path, outside: int) -> None:
    """In a stretch from 100 on: publication 1 before, 2 within, or both behind."""
    log = Log()
    if outside & 1:
        bundles.publish(log, 1)
    for number, event in enumerate(bundles.story(30, 10)):
        log.append(event)
        if number == 150 and outside & 2:
            bundles.publish(log, 2)
    members = export_range(log, 100, 100)
    assert members["publications.ndjson"].count(b"\n") == 2 - (outside >> 1)
    _, found = check(bundles.pack(tmp_path / "b.zip", members))
    assert found.published.keys() == {"1", "2"}


def restored(log: Log, epoch: Any = 2, size: Any = None) -> int:
    """A restore on record, and the epoch that it opens."""
    data = {"epoch": epoch, "size": size, "root": None}
    log.epoch = epoch if isinstance(epoch, int) else log.epoch
    return log.append(bundles.control_event(len(log.lines), "history.restored", data))


def restored_log(size: Any = None) -> Log:
    """A restore after 200 of 300 events."""
    log = Log()
    for number, event in enumerate(bundles.story(30, 10)):
        if number == 200:
            restored(log, size=size)
        log.append(event)
        if number % 40 == 39:
            log.seal()
    return log


@pytest.mark.parametrize("first", [0, 7, 200])
def test_a_restore_goes_on_in_a_new_epoch_and_is_not_overlooked(tmp_path: Path, first: int) -> None:
    path = bundles.pack(tmp_path / "b.zip", export_range(restored_log(240), first, 301 - first))
    bundle, _ = check(path)
    assert bundle.last.origin == "bank.example/loop/epoch-2"
    words = said(path)
    assert (
        "注意：位置 200，2026-05-31T01:03:20.000000Z，p-audit：历史从备份恢复，进入第 2 纪元"
        in words
    )
    assert "Mind: position 200, 2026-05-31T01:03:20.000000Z, p-audit: the history was" in words
    assert "a checkpoint of size 240 was known outside" in words
    assert words.count("(--since)") == 2
    assert "(restores in the bundle: 1)" in words


@pytest.mark.parametrize("make", [lambda log: export_range(log, 210, 60),
                                  lambda log: export_loop(log, LOOP)])  # fmt: skip
def test_a_restore_outside_of_the_bundle_is_said_by_its_epoch(
    tmp_path: Path, make: Callable[[Log], Members]
) -> None:
    words = said(bundles.pack(tmp_path / "b.zip", make(restored_log())))
    assert "历史处于第 2 纪元，即曾从备份恢复；包内有 0 个恢复事件" in words
    assert (
        "the history is in epoch 2, so it was restored from a backup (restores in the bundle: 0)"
        in words
    )


def test_without_a_restore_nothing_is_said_of_one(tmp_path: Path) -> None:
    words = said(bundles.pack(tmp_path / "b.zip", whole()))
    assert "恢复" not in words
    assert "restored" not in words


def test_times_are_said_and_the_largest_step_back(tmp_path: Path) -> None:
    """Side by side seconds do not matter; a backdated event does."""
    log, events = Log(), [*bundles.story(10, 10)]
    late = replace(events[60], at=events[60].at - timedelta(days=3, hours=2))
    side_by_side = replace(events[20], at=events[20].at - timedelta(seconds=40))
    for number, event in enumerate(events):
        log.append({20: side_by_side, 60: late}.get(number, event))
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, 100))
    first, last = (log.lines[n].split(b'"at":"')[1][:27].decode() for n in (0, 99))
    words = said(path)
    assert f"the first event {first}, the last {last}" in words
    assert f"第一个事件 {first}，最后一个 {last}" in words
    assert re.search(r"注意：位置 60 的事件比前一个早 3d 1:59:5\d", words)
    assert re.search(r"event at the position 60 is 3d 1:59:5\d\S* earlier than the one", words)
    assert re.search(
        r"the longest pause between neighbours is 3d 2:00:\S+, before the position 61", words
    )
    words = said(bundles.pack(tmp_path / "b.zip", export_range(log, 0, 60)))
    assert "没有倒退一分钟以上" in words
    assert "Nowhere does the time go back by more than a minute" in words
    words = said(bundles.pack(tmp_path / "b.zip", export_range(log, 60, 1)))
    assert "the longest pause between neighbours is 0:00:00, before the position 60" in words


def test_all_erasures_are_listed_chosen_or_not(tmp_path: Path) -> None:
    log = bundles.log_of(bundles.story(60, 2))
    gone = [*log.bodies][:40]
    erased = [log.erase(seq) for seq in gone]
    for chosen in ("all", "none"):
        words = said(bundles.pack(tmp_path / "b.zip", export_range(log, 0, 160, chosen)))
        for seq, at in zip(gone, erased, strict=True):
            target = bundles.event_id(log, seq)
            assert f"  删除 erased: seq {at}; {target}; 2026-05-31T" in words
        assert words.count("; p-audit; 客户请求 request; 合规部 compliance") == 40


def test_many_documents_and_one_that_packs_well(tmp_path: Path) -> None:
    documents = {f"config/{n}/f{k}.yaml": f"x: {n}\n" for n in range(1, 2_501) for k in range(8)}
    documents["config/1/note.yaml"] = "#" + "-" * 1_000_000 + "\n"
    path = bundles.pack(tmp_path / "b.zip", export_range(small_log(), 0, 301, documents=documents))
    assert "20,001 of 2,500 publications" in said(path)


def test_a_witness_signed(tmp_path: Path) -> None:
    path = bundles.pack(tmp_path / "b.zip", export_range(small_log(witnesses=[WITNESS]), 0, 301))
    check(path)
    check(path, WITNESS_VKEY)
    path = bundles.pack(tmp_path / "c.zip", whole())
    assert refusal(path, WITNESS_VKEY).code == "witness"


def held(log: Log, size: int) -> verifier.Checkpoint:
    root = tree.root(tree.extend([], 0, log.leaves[:size]))
    return verifier.Checkpoint(KEY.name, size, root, frozenset([VKEY]))


@pytest.mark.parametrize("size", [0, 50, 40, 100, 304])
def test_the_checkpoint_that_the_auditor_holds(tmp_path: Path, size: int) -> None:
    log = small_log()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 20 if size else 0, 150))
    _, found = check(path, held=[held(log, size)])
    assert found.since == size


def test_a_checkpoint_that_the_bundle_does_not_reach_is_no_proof(tmp_path: Path) -> None:
    log = small_log()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 20, 150))
    refused = refusal(path, held=[held(log, 2)])
    assert refused.code == "since_open"
    assert "--since 2" in refused.en


def test_a_witness_signed_the_checkpoint_that_the_auditor_holds(tmp_path: Path) -> None:
    """The line stays with the auditor: nothing has to go back into the bank's database."""
    log = small_log()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 20, 50))
    for size, good in ((70, True), (60, False)):
        one = held(log, size)._replace(signers=frozenset([VKEY, WITNESS_VKEY]))
        if good:
            check(path, WITNESS_VKEY, held=[one])
        else:
            assert refusal(path, WITNESS_VKEY, held=[one]).code == "witness"


@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        "\ufeff{}",
        "检查点 / Checkpoint bank.example/loop 80\n请原样保存\n\n{}",
        "{}\n-- \nsent from a phone\n",
        "{}\n\n{}",
    ],
)
def test_checkpoints_are_found_as_people_keep_them(tmp_path: Path, wrap: str) -> None:
    log = small_log()
    kept = tmp_path / "mine.txt"
    for line_end in ("\n", "\r\n"):
        text = wrap.format(log.notes[1][1], log.notes[1][1]).replace("\n", line_end)
        for held_text in (text, text.rstrip()):
            kept.write_bytes(held_text.encode())
            found = verifier.read_held(kept, [key()], [])
            assert {c.size for c in found.checkpoints} == {80}


@pytest.mark.parametrize(
    ("size", "code"), [(40, "since"), (50, "since"), (304, "since"), (305, "since_newer")]
)
def test_a_contradicted_checkpoint(tmp_path: Path, size: int, code: str) -> None:
    log = small_log()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 20, 150))
    other = held(log, 30)._replace(size=size)
    assert refusal(path, held=[other]).code == code
    good = [held(log, size) for size in (20, 60, 100)]
    assert refusal(path, held=[*good, other]).code == code
    assert refusal(path, held=[other, *good]).code == code


def test_what_a_restore_lost_is_believed_from_a_later_checkpoint_only(tmp_path: Path) -> None:
    log = restored_log()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, 301))
    lost = [held(log, 30)._replace(size=240), held(log, 30)._replace(size=9_999)]
    later = held(log, 260)._replace(origin=f"{KEY.name}/epoch-2")
    for one in lost:
        assert refusal(path, held=[one], restored=True).code == "since_restored"
        assert refusal(path, held=[held(log, 100), one], restored=True).code == "since_restored"
    kept = [held(log, 100), *lost, later]
    assert refusal(path, held=kept).code == "since_restored"
    _, found = check(path, held=kept, restored=True)
    assert (found.since, len(found.agreed), found.lost) == (260, 2, lost)
    forged = later._replace(root=bytes(32))
    assert refusal(path, held=[*kept[:-1], forged], restored=True).code == "since_restored"
    behind = bundles.pack(tmp_path / "c.zip", export_range(log, 230, 60))
    assert refusal(behind, held=[*lost, later], restored=True).code == "since_restored"


def test_a_restore_explains_nothing_before_it(tmp_path: Path) -> None:
    """Somebody rewrote the history and claimed a restore, which was signed in good faith."""
    log = restored_log()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, 301))
    later = held(log, 260)._replace(origin=f"{KEY.name}/epoch-2")
    for size in (30, 200):
        other = held(log, 30)._replace(size=size, root=bytes(32))
        for restored in (True, False):
            assert refusal(path, held=[other, later], restored=restored).code == "since"


# --- What was changed is refused -------------------------------------------------------------


def flips(members: Members, number: int, seed: int) -> list[tuple[str, int, int]]:
    """Random bytes of covered members, by weight of their length, and a bit of each."""
    chance = random.Random(seed)
    names = [name for name in COVERED if members[name]]
    weights = [len(members[name]) + 500 for name in names]
    chosen = chance.choices(names, weights, k=number)
    return [(n, chance.randrange(len(members[n])), 1 << chance.randrange(8)) for n in chosen]


@pytest.mark.parametrize("number", [50, pytest.param(500, marks=pytest.mark.prove)])
def test_every_flipped_byte_is_refused(tmp_path: Path, number: int) -> None:
    """By somebody who renews the manifest's hashes, which nothing signs."""
    refused = 0
    for at, make in enumerate((whole, part, loop)):
        for name, place, bit in flips(make(), -(-number // 3), seed=at):
            changed = edited(make(), name, lambda old, p=place, b=bit: flipped(old, p, b))
            refusal(bundles.pack(tmp_path / "b.zip", changed))
            refused += 1
    print(f"{refused} of {refused} one-byte flips refused")  # noqa: T201


def flipped(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


@pytest.mark.parametrize("number", [60, pytest.param(1_000, marks=pytest.mark.prove)])
def test_a_flipped_byte_of_the_file_changes_nothing_unseen(tmp_path: Path, number: int) -> None:
    chance = random.Random(5)
    path = bundles.pack(tmp_path / "b.zip", part())
    raw = path.read_bytes()
    for _ in range(number):
        path.write_bytes(flipped(raw, chance.randrange(len(raw)), 1 << chance.randrange(8)))
        try:
            bundle, _ = check(path)
        except Refused:
            continue
        assert {n: b"".join(bundle.archive.chunks(n)) for n in bundle.archive.members} == part()


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda content: bundles.ended(change(content.splitlines()))


def swap(entries: list[Any]) -> list[Any]:
    return [entries[1], entries[0], *entries[2:]]


def put(*path: Any, to: Any) -> Callable[[Any], None]:
    """Sets a member deep in a JSON value."""

    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = to

    return change


def drop(*path: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        del value[path[-1]]

    return change


def twice(first: bytes, again: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(first, again + first, 1)


def raw(members: Members, name: str, change: Callable[[bytes], bytes]) -> Members:
    """Like `edited`, for bytes of a .json member; the manifest's hash is not renewed."""
    return members | {name: change(members[name])}


def first_id(members: Members) -> str:
    return str(json.loads(members["events.ndjson"].splitlines()[0])["id"])


def exported_id(members: Members) -> str:
    return str(json.loads(members["exported.json"])["id"])


def without(members: Members, name: str) -> Members:
    return {n: c for n, c in members.items() if n != name}


def signed_by_another() -> Members:
    return export_range(small_log(key=SigningKey(KEY.name, bytes(32))), 0, 301)


def of_another_history() -> Members:
    return export_range(small_log(key=SigningKey("tank.example/loop", KEY.seed)), 0, 301)


def forged_with_every_hash_recomputed() -> Members:
    """Another story under the honest checkpoints of the same size."""
    forged = export_range(small_log(key=KEY), 0, 301)
    log = bundles.log_of(bundles.story(30, 10, seed=2), 40)
    log.erase(7)
    other = export_range(log, 0, 301)
    manifest = json.loads(other["manifest.json"])
    manifest["members"]["checkpoints.txt"] = json.loads(forged["manifest.json"])["members"][
        "checkpoints.txt"
    ]
    return other | {
        "checkpoints.txt": forged["checkpoints.txt"],
        "manifest.json": json.dumps(manifest).encode(),
    }


def split_view(first: int) -> Members:
    """The signer showed somebody else another history: one of its checkpoints is in here."""
    log, other = small_log(), bundles.log_of(bundles.story(30, 10, seed=2), 40)
    log.notes[1] = other.notes[1]
    return export_range(log, first, 301 - first)


def signer_at_fault(change: Callable[[list[bytes]], list[bytes]]) -> Members:
    """What a faulty or lying signer could have signed."""
    log = Log()
    for line in change([*small_log().lines[:90]]):
        log.append_line(line)
    return export_range(log, 0, len(log.lines), "none")


def erased_before_written() -> Members:
    log = Log()
    events = list(bundles.story(3, 2))
    data = {"event": events[1].id} | BECAUSE
    log.append(bundles.control_event(0, "body.erased", data))
    for event in events:
        log.append(event)
    log.bodies.pop(2)
    log.erased[2] = 0
    return export_range(log, 0, 7)


def erased_but_here() -> Members:
    log = small_log()
    body = log.bodies[9]
    log.erase(9)
    log.bodies[9] = body
    return export_range(log, 0, 302)


def idle_erasure() -> Members:
    """An erasure of something that is not in the bundle."""
    log = small_log()
    strange = log.append(bundles.control_event(900, "body.erased", {"event": "x"} | BECAUSE))
    log.erased[7] = strange
    return export_range(log, 3, 200)


def told_backwards() -> Members:
    """A loop's second event stands before its first in the history."""
    log = Log()
    for event in [*bundles.story(1, 2)][::-1]:
        log.append(event)
    members = export_loop(log, "L260302-00000000", "none")
    members = edited(members, "events.ndjson", lines(swap))
    return edited(
        members, "proofs.json", lambda p: p.update(events=dict(swap([*p["events"].items()])))
    )


def exported_at_will(kind: str, first: int) -> Members:
    """Two events from `first` on, and at 9 an event of some kind that says to export them."""
    log = bundles.log_of(bundles.story(3, 3))
    data = {"kind": "range", "first": first, "count": 2, "loop": None, "bodies": 0}
    exported = log.append(bundles.control_event(1, kind, data))
    for number in (2, 3):
        log.append(bundles.control_event(number, "audit.checked", {}))
    log.seal()
    seqs = range(first, first + 2)
    members = bundles.events_and_bodies(log, seqs, "none") | dict.fromkeys(OUTSIDE, b"")
    members |= {"exported.json": log.lines[exported]}
    members |= bundles.outlook(log, members, seqs, exported, "range")
    what = {"first": first, "loop": None}
    made = bundles.manifest(log, members, exported, "none", "range", what)
    return members | {"manifest.json": made}


def of_another_origin() -> Members:
    """Our key signed a checkpoint of another history."""
    log = small_log()
    other = log.notes[1][0]
    other = Checkpoint("bank.example/other", other.size, other.root)
    log.notes[1] = (other, sign(other, KEY))
    return export_range(log, 0, 301)


def erasure_of_nothing() -> Members:
    log = small_log()
    log.append(bundles.control_event(900, "body.erased", {"event": None} | BECAUSE))
    return export_range(log, 0, 302)


def erased_without(who: str = "p-audit", **why: Any) -> Members:
    """Words taken away by somebody who does not say why."""
    log = small_log()
    event = bundles.control_event(900, "body.erased", {"event": "x"} | BECAUSE | why)
    log.append(replace(event, actor=replace(event.actor, id=who)))
    return export_range(log, 0, 302, "none")


def odd_event(kind: str, **data: Any) -> Members:
    log = small_log()
    log.append(bundles.control_event(900, kind, data))
    return export_range(log, 0, 302)


def restored_without_event() -> Members:
    log = small_log()
    log.epoch = 2
    log.append(bundles.control_event(900, "audit.checked", {}))
    log.seal()
    return export_range(log, 0, 302)


def restored_in_silence() -> Members:
    """The history changes its epoch in a stretch that starts later, without an event."""
    log = bundles.log_of(bundles.story(10, 10), 30)
    log.epoch = 2
    for event in bundles.story(10, 10, seed=2):
        log.append(replace(event, loop=f"{event.loop}-2"))
    log.seal()
    return export_range(log, 50, 150)


def restored_but_signed_on() -> Members:
    """A restore says that a new epoch begins; the signer went on in the old one."""
    log = small_log()
    restored(log, 2)
    log.epoch = 1
    log.append(bundles.control_event(901, "audit.checked", {}))
    log.seal()
    return export_range(log, 0, 303)


def published_again(first: int, count: int) -> Members:
    """Two publications of one number: the documents are the second one's, which came later."""
    log = small_log()
    bundles.publish(log, 1)
    forged = bundles.CONFIG | {"config/1/policy.yaml": "policy: bank\nversion: 3\n# forged\n"}
    bundles.publish(log, 1, forged)
    return export_range(log, first, count, documents=forged)


def never_published() -> Members:
    log = small_log()
    log.unpublished = {2}
    return export_range(log, 0, 301)


BECAUSE = {"why": "客户请求", "authority": "合规部"}


def rests_on_nothing() -> Members:
    """Events were judged by publication 1, whose documents were never put in."""
    documents = {n: c for n, c in bundles.CONFIG.items() if not n.startswith("config/1/")}
    return export_range(small_log(), 0, 301, documents=documents)


def published_otherwise() -> Members:
    log = small_log()
    bundles.publish(log, 1)
    documents = bundles.CONFIG | {"config/1/policy.yaml": "policy: bank\nversion: 4\n"}
    return export_range(log, 0, 302, documents=documents)


def unsealed() -> Members:
    members = whole()
    notes = members["checkpoints.txt"].split(b"\x1e\n")
    return edited(members, "checkpoints.txt", lambda _: b"\x1e\n".join(notes[:-1]))


def fewer_chosen() -> Members:
    log = small_log()
    ids = [bundles.event_id(log, seq) for seq in (3, 12)]
    fewer = edited(
        export_range(log, 0, 300, ids), "manifest.json", put("bodies", "chosen", to=ids[:1])
    )
    return edited(fewer, "bodies.ndjson", lines(lambda b: b[:1]))


def with_one_more(proofs: dict[str, Any]) -> dict[str, Any]:
    *others, last = proofs.items()
    return dict([*others, ("x", last[1]), last])


def reorder(proofs: Any) -> None:
    proofs["events"] = dict(sorted(proofs["events"].items(), reverse=True))


def other_digit(digit: bytes) -> bytes:
    return b"1" if digit == b"0" else b"0"


def fewer_in_manifest(value: Any) -> None:
    value["count"] -= 1


CASES: dict[str, tuple[str, Callable[[], Members]]] = {
    # the words of events
    "an edited event": (
        "tree",
        lambda: edited(whole(), "events.ndjson", lambda c: c.replace(b"p-3", b"p-4", 1)),
    ),
    "two events swapped": ("tree", lambda: edited(whole(), "events.ndjson", lines(swap))),
    "an event dropped in the middle": (
        "tree",
        lambda: edited(whole(), "events.ndjson", lines(lambda e: e[:100] + e[101:])),
    ),
    "an event dropped at the end": (
        "count",
        lambda: edited(whole(), "events.ndjson", lines(lambda e: e[:-1])),
    ),
    "an event added": (
        "count",
        lambda: edited(whole(), "events.ndjson", lines(lambda e: [*e, e[-2]])),
    ),
    "shortened with its manifest": (
        "exported",
        lambda: edited(
            edited(whole(), "events.ndjson", lines(lambda e: e[:-1])),
            "manifest.json",
            fewer_in_manifest,
        ),
    ),
    "another story with every hash": ("inclusion", forged_with_every_hash_recomputed),
    "spaces in an event": (
        "json_canonical",
        lambda: edited(whole(), "events.ndjson", lambda c: c.replace(b'":', b'": ', 1)),
    ),
    "a key twice in an event": (
        "json_twice",
        lambda: edited(whole(), "events.ndjson", twice(b'"at":', b'"at":"x",')),
    ),
    "a carriage return": (
        "json_canonical",
        lambda: edited(whole(), "events.ndjson", lambda c: c.replace(b"\n", b"\r\n", 1)),
    ),
    "an empty line": ("json", lambda: edited(whole(), "events.ndjson", lambda c: b"\n" + c)),
    "no last line feed": ("line_end", lambda: edited(whole(), "events.ndjson", lambda c: c[:-1])),
    "not UTF-8": (
        "utf8",
        lambda: edited(whole(), "events.ndjson", lambda c: c.replace("登".encode(), b"\xff", 1)),
    ),
    # what only a signer at fault could have sealed
    "a signed gap in a loop": ("loop_gap", lambda: signer_at_fault(lambda e: e[:40] + e[41:])),
    "a loop that starts late": ("loop_gap", lambda: signer_at_fault(lambda e: e[1:])),
    "a signed event twice": (
        "event_twice",
        lambda: signer_at_fault(lambda e: [*e, e[0].replace(b'"loop_seq":0', b'"loop_seq":3')]),
    ),
    "a signed event of another form": (
        "shape",
        lambda: signer_at_fault(lambda e: [*e, e[0].replace(b'"v":1', b'"v":2')]),
    ),
    "a signed event with true for 1": (
        "shape",
        lambda: signer_at_fault(lambda e: [*e, e[0].replace(b'"v":1', b'"v":true')]),
    ),
    "a signed event with more members": (
        "shape",
        lambda: signer_at_fault(lambda e: [*e, e[0].replace(b'"v":1', b'"v":1,"w":1')]),
    ),
    "a signed day that there is not": (
        "shape",
        lambda: signer_at_fault(lambda e: [*e, e[0].replace(b"2026-03-02T", b"2026-02-30T")]),
    ),
    "a signed hour that there is not": (
        "shape",
        lambda: signer_at_fault(lambda e: [*e, e[0].replace(b"T01:00:00", b"T24:00:00")]),
    ),
    "a signed fraction": (
        "json",
        lambda: signer_at_fault(lambda e: [*e, e[0].replace(b'"count":0', b'"count":0.5')]),
    ),
    "a signed large number": (
        "shape",
        lambda: signer_at_fault(
            lambda e: [*e, e[0].replace(b'"count":0', b'"count":9007199254740992')]
        ),
    ),
    "a signed erasure of nothing": ("shape", erasure_of_nothing),
    # loops
    "another loop's event": (
        "loop_other",
        lambda: edited(loop(), "events.ndjson", lambda c: c.replace(b"00000007", b"00000008")),
    ),
    "a loop's first event left out": (
        "loop_gap",
        lambda: edited(loop(), "events.ndjson", lines(lambda e: e[1:])),
    ),
    "a loop's last event left out": (
        "count",
        lambda: edited(loop(), "events.ndjson", lines(lambda e: e[:-1])),
    ),
    "a loop's event edited": (
        "inclusion",
        lambda: edited(loop(), "events.ndjson", lambda c: c.replace(b'"rule":"d', b'"rule":"e')),
    ),
    "a loop's event elsewhere": (
        "inclusion",
        lambda: edited(loop(), "proofs.json", put("events", first_id(loop()), "seq", to=8)),
    ),
    "a loop's proof left out": (
        "proof_missing",
        lambda: edited(loop(), "proofs.json", drop("events", first_id(loop()))),
    ),
    "a loop told backwards": ("seq_order", told_backwards),
    # bodies and erasures
    "an edited body": (
        "body_commit",
        lambda: edited(whole(), "bodies.ndjson", lambda c: c.replace("回电".encode(), b"ok", 1)),
    ),
    "another salt": (
        "body_commit",
        lambda: edited(whole(), "bodies.ndjson", lambda c: c[:-4] + other_digit(c[-4:-3]) + c[-3:]),
    ),
    "a short salt": (
        "shape",
        lambda: edited(whole(), "bodies.ndjson", lambda c: c[:-7] + c[-3:]),
    ),
    "bodies chosen in other words": (
        "shape",
        lambda: edited(whole(), "manifest.json", put("bodies", "chosen", to="some")),
    ),
    "a chosen body left out": (
        "body_missing",
        lambda: edited(whole(), "bodies.ndjson", lines(lambda b: b[:5] + b[6:])),
    ),
    "bodies out of order": ("body_extra", lambda: edited(whole(), "bodies.ndjson", lines(swap))),
    "a body too many": (
        "body_extra",
        lambda: edited(whole(), "bodies.ndjson", lines(lambda b: [*b, b[0]])),
    ),
    "a body nobody chose": (
        "body_extra",
        lambda: edited(whole(), "manifest.json", put("bodies", "chosen", to="none")),
    ),
    "fewer chosen than exported": ("exported", fewer_chosen),
    "a chosen body of no event": (
        "body_unknown",
        lambda: edited(
            export_range(small_log(), 0, 300, []),
            "manifest.json",
            put("bodies", "chosen", to=["x"]),
        ),
    ),
    "the erasure left out": (
        "body_missing",
        lambda: edited(part(), "erasures.ndjson", lambda _: b""),
    ),
    "an erasure that is no erasure": (
        "erasure",
        lambda: edited(loop(), "erasures.ndjson", lambda _: loop()["exported.json"] + b"\n"),
    ),
    "an erasure from before": ("body_missing", erased_before_written),
    "an erasure of something else": ("erasure", idle_erasure),
    "an erased body that is here": ("body_erased", erased_but_here),
    "erased without a reason": ("erasure_reason", lambda: erased_without(why=" ")),
    "erased by no authority": ("erasure_reason", lambda: erased_without(authority=None)),
    "erased by a number's authority": ("erasure_reason", lambda: erased_without(authority=7)),
    "erased by nobody": ("erasure_reason", lambda: erased_without(who="")),
    # restores
    "an epoch that no event opened": ("restored", restored_without_event),
    "an epoch that begins in silence": ("restored", restored_in_silence),
    "an epoch that was opened and not used": ("restored", restored_but_signed_on),
    "a restore to no epoch": ("shape", lambda: odd_event("history.restored", epoch=None)),
    "a restore to true": ("shape", lambda: odd_event("history.restored", epoch=True)),
    "a restore to the first epoch": ("shape", lambda: odd_event("history.restored", epoch=1)),
    "a restore to an epoch that no checkpoint can name": (
        "shape",
        lambda: odd_event("history.restored", epoch=10**9),
    ),
    "a restore of odd size": (
        "shape",
        lambda: odd_event("history.restored", epoch=2, size="large"),
    ),
    # the exported event
    "no exported event": ("zip_missing", lambda: without(whole(), "exported.json")),
    "an exported event of another bundle": (
        "inclusion",
        lambda: edited(whole(), "exported.json", lambda _: part()["exported.json"]),
    ),
    "an edited exported event": (
        "inclusion",
        lambda: edited(whole(), "exported.json", lambda c: c.replace(b"p-audit", b"p-other")),
    ),
    "bytes behind the exported event": (
        "json_canonical",
        lambda: edited(whole(), "exported.json", lambda c: c + b"\n"),
    ),
    "an exported event without proof": (
        "proof_missing",
        lambda: edited(whole(), "proofs.json", drop("events", exported_id(whole()))),
    ),
    "an exported event no checkpoint covers": ("exported_unsealed", unsealed),
    "exported before its last event": (
        "exported_place",
        lambda: exported_at_will("history.exported", 10),
    ),
    "another kind of event as the exported": (
        "exported",
        lambda: exported_at_will("audit.checked", 3),
    ),
    "an exported event without hashes": (
        "hash",
        lambda: exported_at_will("history.exported", 3),
    ),
    "the exported event elsewhere": (
        "exported",
        lambda: edited(whole(), "manifest.json", put("exported", "seq", to=300)),
    ),
    "an edited document": (
        "hash",
        lambda: edited(whole(), "config/1/policy.yaml", lambda c: c + b"#"),
    ),
    "the documents that events rest on left out": ("documents_missing", rests_on_nothing),
    "other documents than were published": ("documents", published_otherwise),
    "a publication made twice": ("published_twice", lambda: published_again(0, 303)),
    "a publication made again after the stretch": (
        "published_twice",
        lambda: published_again(0, 302),
    ),
    "documents that no event published": ("documents_unpublished", never_published),
    "a publication that is none": (
        "publication",
        lambda: edited(whole(), "publications.ndjson", lambda c: c.replace(b"s.p", b"s.P")),
    ),
    "a publication of no number": (
        "shape",
        lambda: odd_event("documents.published", publication="1", sha256="00" * 32),
    ),
    "a publication of true": (
        "shape",
        lambda: odd_event("documents.published", publication=True, sha256="00" * 32),
    ),
    "a publication of no hash": (
        "shape",
        lambda: odd_event("documents.published", publication=1, sha256=None),
    ),
    "a publication left out": (
        "proof_extra",
        lambda: edited(whole(), "publications.ndjson", lines(lambda e: e[:-1])),
    ),
    "a publication edited": (
        "inclusion",
        lambda: edited(whole(), "publications.ndjson", lambda c: c.replace(b"p-audit", b"p-other")),
    ),
    "a document left out": ("hash", lambda: without(whole(), "config/1/policy.yaml")),
    "a document renamed": (
        "hash",
        lambda: {
            n.replace("1/policy", "2/policy") if n.startswith("config/1/p") else n: c
            for n, c in whole().items()
        },
    ),
    # checkpoints
    "a key that is not the auditor's": ("note_unsigned", signed_by_another),
    "another history": ("note_origin", of_another_history),
    "a checkpoint of another history": ("note_origin", of_another_origin),
    "a changed size": (
        "note_signature",
        lambda: edited(whole(), "checkpoints.txt", lambda c: c.replace(b"\n40\n", b"\n41\n")),
    ),
    "a changed signature": (
        "note_signature",
        lambda: edited(whole(), "checkpoints.txt", lambda c: c[:-9] + b"AAAA" + c[-5:]),
    ),
    "bytes behind the checkpoints": (
        "note",
        lambda: edited(whole(), "checkpoints.txt", lambda c: c + b"\x1e\n"),
    ),
    "checkpoints that are not UTF-8": (
        "utf8",
        lambda: edited(whole(), "checkpoints.txt", lambda c: c.replace(b"\xe2\x80\x94", b"\xe2")),
    ),
    "no checkpoints": ("note", lambda: edited(whole(), "checkpoints.txt", lambda _: b"")),
    "checkpoints out of order": (
        "note_order",
        lambda: edited(
            whole(), "checkpoints.txt", lambda c: b"\x1e\n".join(reversed(c.split(b"\x1e\n")))
        ),
    ),
    "a split view inside": ("tree", lambda: split_view(0)),
    "a split view before": ("consistency", lambda: split_view(81)),
    "no proof between checkpoints": (
        "consistency_missing",
        lambda: edited(whole(), "proofs.json", drop("checkpoints", 0)),
    ),
    # proofs and manifest
    "a proof for nothing": (
        "proof_extra",
        lambda: edited(
            whole(), "proofs.json", lambda p: p.update(events=with_one_more(p["events"]))
        ),
    ),
    "a proof between checkpoints twice": (
        "proof_extra",
        lambda: edited(
            whole(), "proofs.json", lambda p: p["checkpoints"].append(p["checkpoints"][0])
        ),
    ),
    "a proof between other sizes": (
        "proof_extra",
        lambda: edited(
            whole(),
            "proofs.json",
            lambda p: p["checkpoints"].append({"from": 1, "to": 2, "consistency": []}),
        ),
    ),
    "a wrong frontier": (
        "tree",
        lambda: edited(part(), "proofs.json", put("frontier", 0, to="00" * 32)),
    ),
    "a shifted range": ("shape", lambda: edited(part(), "proofs.json", put("first", to=4))),
    "a wrong consistency": (
        "tree",
        lambda: edited(part(), "proofs.json", put("range", "consistency", 0, to="00" * 32)),
    ),
    "upper-case hex": (
        "shape",
        lambda: edited(part(), "proofs.json", put("frontier", 0, to="AA" * 32)),
    ),
    "a key twice in the proofs": (
        "json_twice",
        lambda: raw(whole(), "proofs.json", twice(b'"seq":', b'"seq": 0, ')),
    ),
    "proofs in another layout": (
        "shape",
        lambda: raw(whole(), "proofs.json", lambda c: json.dumps(json.loads(c)).encode() + b"\n"),
    ),
    "proofs without their commas": (
        "shape",
        lambda: raw(loop(), "proofs.json", lambda c: c.replace(b"},\n", b"}\n", 1)),
    ),
    "proofs with more behind": (
        "shape",
        lambda: raw(whole(), "proofs.json", lambda c: c + b"{}\n"),
    ),
    "proofs of an endless line": (
        "shape",
        lambda: edited(
            whole(), "proofs.json", put("events", exported_id(whole()), "path", to=["0" * 20_000])
        ),
    ),
    "proofs out of order": (
        "proof_missing",
        lambda: edited(loop(), "proofs.json", reorder),
    ),
    "proofs that are not UTF-8": (
        "utf8",
        lambda: raw(whole(), "proofs.json", lambda c: c.replace(b'"seq"', b'"s\xff"')),
    ),
    "a key twice in the manifest": (
        "json_twice",
        lambda: raw(whole(), "manifest.json", twice(b'"kind":', b'"kind": "loop", ')),
    ),
    "a fraction in the manifest": (
        "json",
        lambda: raw(whole(), "manifest.json", lambda c: c.replace(b'"epoch": 1', b'"epoch": 1.0')),
    ),
    "a key in the manifest": (
        "shape",
        lambda: edited(whole(), "manifest.json", put("key", to=VKEY)),
    ),
    "another format": (
        "shape",
        lambda: edited(whole(), "manifest.json", put("format", to="loopwright-bundle/2")),
    ),
    "another first": ("shape", lambda: edited(whole(), "manifest.json", put("first", to=1))),
    "another count": ("exported", lambda: edited(whole(), "manifest.json", put("count", to=300))),
    "another epoch": ("manifest", lambda: edited(whole(), "manifest.json", put("epoch", to=2))),
    "a negative epoch": ("shape", lambda: edited(whole(), "manifest.json", put("epoch", to=-1))),
    "no events claimed": ("shape", lambda: edited(whole(), "manifest.json", put("count", to=0))),
    "other counts": (
        "manifest",
        lambda: edited(whole(), "manifest.json", put("counts", "loop.closed", to=1)),
    ),
    "other totals": (
        "manifest",
        lambda: edited(whole(), "manifest.json", put("control", "loops", to=1)),
    ),
    "a range said to be a loop": (
        "shape",
        lambda: edited(whole(), "manifest.json", put("kind", to="loop")),
    ),
    "another loop in the manifest": (
        "exported",
        lambda: edited(loop(), "manifest.json", put("loop", to="L260302-00000008")),
    ),
    "a wrong hash in the manifest": (
        "hash_manifest",
        lambda: edited(whole(), "manifest.json", put("members", "proofs.json", to="00" * 32)),
    ),
    "a hash of no member": (
        "manifest",
        lambda: edited(whole(), "manifest.json", put("members", "x", to="00" * 32)),
    ),
    # members
    "an unknown member": ("zip_unknown", lambda: {"readme.txt": b"", **whole()}),
    "a key among the members": ("zip_key", lambda: {**whole(), "audit.vkey": VKEY.encode()}),
    "members out of order": ("zip_order", lambda: dict(reversed(whole().items()))),
    "no manifest": ("zip_missing", lambda: without(whole(), "manifest.json")),
    "an absolute path": ("zip_name", lambda: {"/etc/x": b"", **whole()}),
    "a path upwards": ("zip_name", lambda: {**whole(), "config/../../x": b""}),
    "a drive": ("zip_name", lambda: {**whole(), "config/C:/x": b""}),
    "a backslash": ("zip_name", lambda: {**whole(), "config\\x": b""}),
    "a document of no publication": ("zip_name", lambda: {**whole(), "config/x": b""}),
    "a folder": ("zip_name", lambda: {**whole(), "config/1/": b""}),
    "a bomb": ("zip_ratio", lambda: with_config(whole(), "config/1/zeros", bytes(20 << 20))),
    "a small manifest of many parts": (
        "json_parts",
        lambda: edited(whole(), "manifest.json", put("people", to=[[]] * 600_000)),
    ),
    "an event of many parts": (
        "json_parts",
        lambda: edited(
            whole(),
            "events.ndjson",
            lambda c: c.replace(b'"data":{', b'"data":{"x":[' + b"[]," * 600_000, 1),
        ),
    ),
}


def with_config(members: Members, name: str, content: bytes) -> Members:
    """A document more, in its place in the order."""
    result = {}
    for old, kept in members.items():
        if old == "erasures.ndjson":
            result[name] = content
        result[old] = kept
    return result


@pytest.mark.parametrize("name", CASES)
def test_every_broken_bundle_is_refused_for_its_reason(tmp_path: Path, name: str) -> None:
    code, make = CASES[name]
    refused = refusal(bundles.pack(tmp_path / "b.zip", make()))
    assert (refused.code, bool(refused.where)) == (code, True), str(refused)


# --- The zip itself --------------------------------------------------------------------------


def repacked(change: Callable[[zipfile.ZipFile, str, bytes], None]) -> bytes:
    """The whole bundle, each member written by `change`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in whole().items():
            change(bundle, name, content)
    return out.getvalue()


def plain_zip() -> bytes:
    return repacked(lambda bundle, name, content: bundle.writestr(name, content))


def a_name_twice(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    bundle.writestr(name, content)
    if name == "events.ndjson":
        bundle.writestr(name, content)


def as_a_link(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    bundle.writestr(info, content)


def with_a_comment(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name)
    info.comment = b"hello"
    bundle.writestr(info, content)


def packed_otherwise(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    bundle.writestr(name, content, zipfile.ZIP_BZIP2)


def streamed() -> bytes:
    """Written to a pipe: sizes stand behind the data."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise io.UnsupportedOperation

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in whole().items():
            bundle.writestr(name, content)
    return out.getvalue()


def shifted(by: bytes) -> bytes:
    """Bytes in front, with every offset put right."""
    content = bytearray(plain_zip())
    end = len(content) - 22
    start = struct.unpack_from("<L", content, end + 16)[0]
    struct.pack_into("<L", content, end + 16, start + len(by))
    at = start
    while content[at : at + 4] == b"PK\1\2":
        name, extra, comment = struct.unpack_from("<HHH", content, at + 28)
        offset = struct.unpack_from("<L", content, at + 42)[0]
        struct.pack_into("<L", content, at + 42, offset + len(by))
        at += 46 + name + extra + comment
    return by + bytes(content)


def other_local_name() -> bytes:
    return plain_zip().replace(b"events.ndjson", b"events.ndjsox", 1)


def other_checksum() -> bytes:
    content = struct.pack("<L", zlib.crc32(whole()["manifest.json"]))
    assert plain_zip().count(content) == 2
    return plain_zip().replace(content, bytes(4))


def other_local_checksum() -> bytes:
    """A program that reads from the front would see something else than one that reads the end."""
    content = struct.pack("<L", zlib.crc32(whole()["manifest.json"]))
    return plain_zip().replace(content, bytes(4), 1)


def longer_stream() -> bytes:
    """Bytes behind the end of a member's deflate stream, inside its packed size."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in whole().items():
            bundle.writestr(name, content)
    raw = out.getvalue()
    with zipfile.ZipFile(out) as bundle:
        info = bundle.getinfo("manifest.json")
    at = info.header_offset
    end = at + 30 + len("manifest.json") + info.compress_size
    size = struct.pack("<L", info.compress_size)
    more = struct.pack("<L", info.compress_size + 4)
    grown = raw[:end] + b"more" + raw[end:]
    grown = grown[:at] + grown[at:].replace(size, more)
    start = struct.unpack_from("<L", grown, len(grown) - 6)[0]
    return grown[:-6] + struct.pack("<L", start + 4) + grown[-2:]


def with_extra(extra: bytes) -> bytes:
    """The same extra field at every member, in both places where one can stand."""

    def written(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name)
        info.extra = extra
        bundle.writestr(info, content)

    return repacked(written)


def with_extra_in_the_directory(extra: bytes) -> bytes:
    """Where only programs that read the end of the file see it."""

    def written(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name)
        bundle.writestr(info, content)
        info.extra = extra

    return repacked(written)


def field_of(number: int, content: bytes) -> bytes:
    return struct.pack("<HH", number, len(content)) + content


def another_name(name: str, instead: str) -> bytes:
    """By which `unzip` takes out another file under a member's name (Info-ZIP's Unicode path)."""
    return field_of(0x7075, b"\1" + struct.pack("<L", zlib.crc32(name.encode())) + instead.encode())


def forced_zip64() -> bytes:
    """As an exporter writes that does not know a member's size in advance."""

    def written(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
        with bundle.open(name, "w", force_zip64=True) as member:
            member.write(content)

    return repacked(written)


def local_extra(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The first member's zip64 sizes in its header, changed in place."""
    at = 30 + len("events.ndjson")
    changed = change(content[at : at + 20])
    assert len(changed) == 20
    return content[:at] + changed + content[at + 20 :]


def huge(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """As if members and file were larger than 4 GiB: sizes and places stand in extra fields."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    return forced_zip64()


def narrowed(content: bytes, shift: int) -> bytes:
    """The end record says otherwise than the wide one before it."""
    at = len(content) - 22 + shift
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("wide", [False, True])
def test_wide_sizes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: bool) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(huge(monkeypatch) if wide else forced_zip64())
    assert (b"PK\6\6" in path.read_bytes()) == wide
    bundle, _ = check(path)
    assert {n: b"".join(bundle.archive.chunks(n)) for n in bundle.archive.members} == whole()


def test_wide_sizes_must_agree_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, content = tmp_path / "b.zip", huge(monkeypatch)
    end = content.index(b"PK\6\6")
    places = [*range(end + 4, end + 12), *range(end + 16, end + 56), *range(end + 60, end + 76)]
    places += range(len(content) - 18, len(content))
    for at in places:
        path.write_bytes(flipped(content, at, 1))
        assert refusal(path).code in ("zip", "zip_layout", "zip_many"), at - end


ZIPS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a name twice": ("zip_twice", lambda: repacked(a_name_twice)),
    "a symbolic link": ("zip_layout", lambda: repacked(as_a_link)),
    "a comment at a member": ("zip_layout", lambda: repacked(with_a_comment)),
    "another packing": ("zip_layout", lambda: repacked(packed_otherwise)),
    "sizes behind the data": ("zip_layout", streamed),
    "bytes in front": ("zip_layout", lambda: b"#!/bin/sh\n" + plain_zip()),
    "bytes in front, offsets put right": ("zip_layout", lambda: shifted(b"#!/bin/sh\n")),
    "bytes behind": ("zip_layout", lambda: plain_zip() + b"more"),
    "a comment": ("zip_layout", lambda: plain_zip()[:-2] + b"\4\0more"),
    "another name in the header": ("zip_layout", other_local_name),
    "another checksum in the header": ("zip_layout", other_local_checksum),
    "another checksum": ("zip_stream", other_checksum),
    "bytes behind a stream": ("zip_stream", longer_stream),
    "20 kB of anything": ("zip_layout", lambda: with_extra(field_of(0x9999, os.urandom(20_000)))),
    "an empty extra field": ("zip_layout", lambda: with_extra(field_of(0x9999, b""))),
    "another name for unzip": (
        "zip_layout",
        lambda: with_extra(another_name("events.ndjson", "bodies.ndjson")),
    ),
    "another name in the directory": (
        "zip_layout",
        lambda: with_extra_in_the_directory(another_name("events.ndjson", "bodies.ndjson")),
    ),
    "wide sizes that nothing needs": (
        "zip_layout",
        lambda: with_extra(field_of(1, struct.pack("<QQ", 1, 1))),
    ),
    "other wide sizes": (
        "zip_layout",
        lambda: local_extra(forced_zip64(), lambda old: old[:4] + old[12:] + old[4:12]),
    ),
    "another field instead of wide sizes": (
        "zip_layout",
        lambda: local_extra(forced_zip64(), lambda old: b"\x75\x70" + old[2:]),
    ),
    "cut short": ("zip", lambda: plain_zip()[:-30]),
    "another zip behind": ("zip_layout", lambda: plain_zip() + plain_zip()),
    "no zip": ("zip", lambda: b"PK\3\4" + bytes(100)),
    "nothing": ("zip", lambda: b""),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ZIPS)
def test_zip_tricks_are_refused(tmp_path: Path, name: str) -> None:
    code, make = ZIPS[name]
    path = tmp_path / "b.zip"
    path.write_bytes(plain_zip())
    check(path)
    path.write_bytes(make())
    assert refusal(path).code == code


def test_every_reason_is_shown_by_a_case() -> None:
    shown = {code for code, _ in [*CASES.values(), *ZIPS.values()]}
    shown |= {"key", "witness", "memory", "since", "since_newer", "since_restored"} | RENEWED
    shown.add("since_open")
    assert verifier.REASONS.keys() - shown == {code for _, _, code in LIMITS}


RENEWED = {"note_former", "renewed"}
"""Shown in test_verifier_keys."""

LIMITS = [
    ("MAX_MEMBERS", 9, "zip_many"),
    ("MAX_WHOLE", dict.fromkeys(verifier.MAX_WHOLE, 100), "zip_size"),
    ("MAX_LINE", 1_000, "line_long"),
]


@pytest.mark.parametrize(("limit", "value", "code"), LIMITS)
def test_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: Any, code: str
) -> None:
    """A line that never ends and members without end must not fill the memory."""
    members = edited(whole(), "events.ndjson", lambda c: c.replace(b"\n", b" "))
    monkeypatch.setattr(verifier, limit, value)
    assert refusal(bundles.pack(tmp_path / "b.zip", members)).code == code


@pytest.mark.parametrize("fault", [MemoryError, RecursionError])
def test_too_much_for_the_machine_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    def fails(*_: Any) -> None:
        raise fault

    monkeypatch.setattr(verifier, "check_between", fails)
    assert refusal(bundles.pack(tmp_path / "b.zip", whole())).code == "memory"


def random_value(chance: random.Random) -> Any:
    return chance.choice(
        [None, True, -1, 0, 2**60, "", "x", "00" * 32, [], {}, [1], {"a": 1}, [[]], [None]]
    )


def scramble(value: Any, chance: random.Random) -> None:
    """Put something else somewhere into a JSON value."""
    while True:
        places = list(value.keys()) if isinstance(value, dict) else list(range(len(value)))
        if not places:
            return
        at = chance.choice(places)
        if not isinstance(value[at], dict | list) or not value[at] or chance.random() < 0.3:
            value[at] = random_value(chance)
            return
        value = value[at]


@pytest.mark.parametrize("name", ["manifest.json", "proofs.json"])
def test_scrambled_members_never_break_the_verifier(tmp_path: Path, name: str) -> None:
    """Whatever stands there, the answer is a refusal, or the place is one that proves nothing."""
    chance, passed = random.Random(3), 0
    for _ in range(60):
        make = chance.choice([part, loop])
        changed = edited(make(), name, lambda value: scramble(value, chance))
        try:
            bundle, _ = check(bundles.pack(tmp_path / "b.zip", changed))
        except Refused:
            continue
        passed += 1
        proven = bundle.manifest.keys() - {"query", "software", "people"}
        same = json.loads(make()["manifest.json"])
        assert {k: bundle.manifest[k] for k in proven - {"members"}} == {
            k: same[k] for k in proven - {"members"}
        }
    assert passed < 30


# --- The program -----------------------------------------------------------------------------


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """As an auditor runs it: a bare interpreter, without packages and without this folder."""
    command = [sys.executable, "-I", "-S", str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=cwd, check=False)


def test_the_program_says_what_is_proven_and_what_is_not(tmp_path: Path) -> None:
    said = run(bundles.pack(tmp_path / "b.zip", part()), "--key", VKEY)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("已证实\n  证实：历史中位置 3 至 202 的 200 个事件")
    assert "  Proven: the 200 events at the positions 3 to 202 of the history" in said.stdout
    assert "Bodies: 27 chosen, 26 as the events committed to, 1 erased by an event." in said.stdout
    assert "未证实：这一段之前和之后的事件" in said.stdout
    assert "Not proven: events before and after this stretch" in said.stdout
    assert "客户请求 request; 合规部 compliance" in said.stdout


def test_a_loop_bundle_says_that_something_may_have_come_later(tmp_path: Path) -> None:
    said = run(bundles.pack(tmp_path / "b.zip", loop()), "--key", VKEY).stdout
    first, last = (json.loads(loop()["proofs.json"])["events"][e]["seq"] for e in loop_ends())
    assert f"位置由 {first} 至 {last} 递增，编号从 0 起连续" in said
    assert f"at growing positions from {first} to {last}, numbered from 0 without a gap" in said
    assert "未证实：历史中没有别的事件也属于这个循环、带同样的编号；此后没有别的事件" in said
    assert "Not proven: that no other event of the history is this loop's and bears" in said
    assert "nor that nothing came later" in said


def loop_ends() -> tuple[str, str]:
    events = loop()["events.ndjson"].splitlines()
    return json.loads(events[0])["id"], json.loads(events[-1])["id"]


def test_the_program_refuses_with_place_and_reason(tmp_path: Path) -> None:
    changed = edited(whole(), "bodies.ndjson", lambda c: c.replace("回电".encode(), b"ok", 1))
    said = run(bundles.pack(tmp_path / "b.zip", changed), "--key", VKEY)
    assert said.returncode == 1
    title, where, zh, en = said.stdout.splitlines()
    assert (title, where) == ("拒绝 REFUSED", "  bodies.ndjson 1")
    assert zh.startswith("  正文与事件")
    assert en.startswith("  the body does not match what the event")


def test_the_checkpoint_the_auditor_holds_comes_from_a_file(tmp_path: Path) -> None:
    log = small_log()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 20, 150))
    note = tmp_path / "mine.txt"
    note.write_text(log.notes[1][1], "utf-8")
    said = run(path, "--key", VKEY, "--since", note)
    assert said.returncode == 0
    assert "It continues the checkpoint of size 80 that you hold." in said.stdout
    other = Checkpoint("tank.example/loop", 80, bytes(32))
    for wrong in (log.notes[1][1].replace("\n80\n", "\n81\n"), sign(other, KEY), "", "\xff"):
        note.write_text(wrong, "latin-1" if wrong == "\xff" else "utf-8")
        said = run(path, "--key", VKEY, "--since", note)
        assert (said.returncode, "Traceback" in said.stderr) == (2, False)


def test_a_file_of_many_checkpoints_is_compared_as_a_whole(tmp_path: Path) -> None:
    log = small_log()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 60, 150))
    texts = [text for _, text in log.notes]
    stranger = sign(Checkpoint(KEY.name, 80, bytes(32)), SigningKey(KEY.name, bytes(32)))
    kept = tmp_path / "mine.txt"
    kept.write_text("\x1e\n".join([*texts, "torn\n", stranger]), "utf-8")
    said = run(path, "--key", VKEY, "--since", kept)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "It continues the checkpoint of size 304 that you hold." in said.stdout
    assert (
        "Your file holds 9 pieces: 8 checkpoints were read, 6 agree, 2 are outside of this bundle,"
        " 0 are of what was lost in a restore; 1 pieces are no checkpoints signed by the keys given"
    ) in said.stdout
    assert "你的文件里有 9 段：读了 8 个检查点，6 个对上，2 个不在本包范围内" in said.stdout
    other = sign(Checkpoint(KEY.name, 100, bytes(32)), KEY)
    kept.write_text("\x1e\n".join([texts[1], other, texts[2]]), "utf-8")
    said = run(path, "--key", VKEY, "--since", kept)
    assert (said.returncode, "contradicts the checkpoint of size 100" in said.stdout) == (1, True)
    kept.write_text("\x1e\n".join(["torn\n", stranger]), "utf-8")
    assert run(path, "--key", VKEY, "--since", kept).returncode == 2


def test_of_very_many_checkpoints_as_many_evenly_spaced_ones_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "MAX_HELD", 3)
    log = small_log()
    kept = tmp_path / "mine.txt"
    kept.write_text("\x1e\n".join(text for _, text in log.notes), "utf-8")
    held = verifier.read_held(kept, [key()], [])
    assert ([c.size for c in held.checkpoints], held.pieces) == ([80, 160, 280], 7)


def test_wrong_usage(tmp_path: Path) -> None:
    path = bundles.pack(tmp_path / "b.zip", whole())
    for wrong in (
        [path],
        [path, "--key", "x"],
        [path, "--key", VKEY[:-1]],
        [tmp_path / "none.zip", "--key", VKEY],
        [tmp_path, "--key", VKEY],
        [path, "--key", VKEY, "--since", tmp_path / "none"],
        [path, "--key", VKEY, "--witness", "x"],
        [path, "--key", VKEY, "--keys-from-bundle"],
    ):
        said = run(*wrong)
        assert (said.returncode, said.stdout) == (2, ""), wrong
        assert said.stderr
        assert "Traceback" not in said.stderr


def test_what_a_bundle_says_cannot_move_the_cursor(tmp_path: Path) -> None:
    log = small_log()
    log.bodies.pop(12)
    data = {
        "event": bundles.event_id(log, 12),
        "why": "\x1b[2Jgone\n已证实",
        "authority": "\x1b[1mnobody",
    }
    log.erased[12] = log.append(bundles.control_event(500, "body.erased", data))
    said = run(bundles.pack(tmp_path / "b.zip", export_range(log, 0, 302)), "--key", VKEY)
    assert said.returncode == 0
    assert "\x1b" not in said.stdout
    assert said.stdout.count("\n已证实") == 0


MEASURE = """
import re, runpy, sys
def offline(event, _):
    if event.startswith("socket."):
        raise SystemExit("the network was asked for")
sys.addaudithook(offline)
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    # the peak since exec; getrusage would count the process that started this one
    print("PEAK", int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.prove
def test_a_million_events(tmp_path: Path) -> None:
    """1,000,000 events of 100,000 loops and a checkpoint every five minutes of them."""
    log = bundles.log_of(bundles.story(100_000, 10), seal_every=43)
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, 1_000_000))
    del log
    command = [sys.executable, "-I", "-S", "-c", MEASURE, str(TOOL), str(path), "--key", VKEY]
    before = os.times()
    said = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    after = os.times()
    wall = after.elapsed - before.elapsed
    seconds = sum(after[2:4]) - sum(before[2:4])  # one process, so its own time: neighbours vary
    peak = int(said.stdout.split("PEAK")[1])
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1,000,000 events" in said.stdout
    size = path.stat().st_size >> 20
    print(f"1,000,000 events: {seconds:.1f} s CPU, {wall:.1f} s, {peak} MB; zip {size} MB")  # noqa: T201
    assert seconds <= 60
    assert peak <= 200
