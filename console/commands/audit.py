"""审计 / The history: sign it, verify it, replay it."""

import sys
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from console.terminal import (
    AsJson,
    DryRun,
    Limit,
    Person,
    actor,
    actor_or_program,
    choose,
    emit,
    say,
    table,
    workspace,
)
from loopwright.errors import InputError

if TYPE_CHECKING:
    from loopwright.history.envelope import Actor
    from loopwright.history.keys import Signer
    from loopwright.history.note import Checkpoint, SigningKey
    from loopwright.history.verify import Report
    from loopwright.settings import Settings
    from tasks.audit.bundle_part import Asked
    from tasks.audit.export_history import Exported
    from tasks.audit.replay import Replay
    from tasks.audit.replay_intake import Fingerprint
    from tasks.audit.seal_history import Restored
    from tasks.privacy.erase import Erased
    from tasks.workspace import Workspace

NAME = "audit"
app = typer.Typer(no_args_is_help=True)


AcceptLoss = Annotated[
    bool,
    typer.Option("--restored", help="Accept what a restore lost, having seen the reason."),
]
Vkeys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="VKEY",
        help="The signer's public key, as handed over; once more for each it had before.",
    ),
]


@app.command()
def verify(
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="Checkpoints kept outside: one note or a whole file."),
    ] = None,
    key: Vkeys = None,
    restored: AcceptLoss = False,
    as_json: AsJson = False,
) -> None:
    """核验 / Recompute every leaf, the root, all checkpoints; exit 1 at the first thing wrong."""
    from dataclasses import asdict

    from loopwright.history.verify import verify as verify_history
    from tasks.audit.witness import Kept, checkpoints_in

    with workspace() as ws:
        signer = who_signs(ws.settings, key, required=checkpoint is not None)
        kept = checkpoints_in(checkpoint, signer) if checkpoint and signer else Kept([], [])
        with ws.db.read() as tx:
            report = verify_history(tx, signer, kept.checkpoints, restored=restored)
    document = asdict(report) | {"ok": report.ok, "signatures": signer is not None}
    document["passed_over"] = kept.passed_over

    def human() -> None:
        for reason in kept.passed_over:
            say(f"⚠ 略过一个检查点 / a checkpoint was passed over: {reason}")
        tell(report, signed=signer is not None)

    emit(document, as_json, human)
    sys.exit(0 if report.ok else 1)


def who_signs(settings: "Settings", keys: list[str] | None, *, required: bool) -> "Signer | None":
    """The keys on the command line, else the installation's own. Raises InputError."""
    from tasks.audit.seal_history import known_signer

    if keys:
        return parse_keys(keys)
    own = known_signer(settings)
    if own is None and required:
        raise InputError("there is no key to check signatures with", "add --key VKEY")
    return own


def parse_keys(keys: list[str]) -> "Signer":
    """The present key first. Raises InputError."""
    from loopwright.history.keys import Signer
    from loopwright.history.note import NoteError, PublicKey

    try:
        return Signer(tuple(map(PublicKey.parse, keys)))
    except NoteError as error:
        fix = "give it as `loopwright audit key --public` prints it"
        raise InputError(f"--key: {error}", fix) from None


def warn(text: str) -> None:
    """For people, beside what a program reads."""
    typer.echo(text, err=True)


def print_exactly(text: str) -> None:
    sys.stdout.write(text)


def tell(report: "Report", *, signed: bool) -> None:
    """The report in words: what was found, what it proves and what not."""
    if report.problem:
        say(f"✗ seq {report.seq}: {report.problem}")
    else:
        say(
            f"✓ {report.size:,} 个事件 events，{report.bodies:,} 份正文 bodies，"
            f"{report.erased:,} 份已删除 erased，根 root {report.root}"
        )
    if report.back.seconds >= TOLD_SECONDS:
        say(
            f"⚠ 时间最多倒退 / time steps back by up to {timedelta(seconds=report.back.seconds)}"
            f" (seq {report.back.seq})"
        )
    for verdict in report.outside:
        mark = "✓" if verdict.found == "held" else "⚠" if report.ok else "✗"
        place = "" if verdict.seq is None else f" (seq {verdict.seq})"
        words = VERDICTS[verdict.found]
        say(f"{mark} {verdict.origin} {verdict.size:,}: {words}{place}")
    if report.ok:
        checked = "签名已核对 / signatures checked" if signed else NOT_CHECKED
        say(f"✓ {report.checkpoints:,} 个检查点 / checkpoints: {checked}")
        say(proves(report))


VERDICTS = {
    "held": "与历史一致 / the history extends it",
    "truncated": "历史短于它：被截短，或来自旧备份 / the history is shorter: truncated or restored",
    "rewritten": "此前的历史被改写 / what stands before it was rewritten",
    "lost in a restore": "恢复备份时丢失，已有记录 / its end was lost in a restore, on record",
}


def proves(report: "Report") -> str:
    """What a sound report shows, and what not."""
    if any(verdict.found != "held" for verdict in report.outside):
        return PROVES_RESTORED
    return PROVES_OUTSIDE if report.outside else PROVES


TOLD_SECONDS = 60
"""Writers side by side note times that differ by seconds; more is worth a look."""
NOT_CHECKED = "签名未核对，缺公钥 / signatures not checked: no key here, --key VKEY"
PROVES = (
    "  证明：自写入以来，未有人只改行而不重算哈希。不证明：有人重算了全部哈希；"
    "这要靠留存在外部的检查点（--checkpoint）。\n"
    "  This proves that no row was changed without rebuilding the hashes. It does not prove that"
    " nobody rebuilt them: give a checkpoint kept outside (--checkpoint)."
)
PROVES_OUTSIDE = (
    "  证明：外部检查点之前的每一事件，自签署以来未被改动、删除、插入或调换。不证明：之后的事件；"
    "录入时就不真实的内容。\n"
    "  This proves that nothing before the checkpoint kept outside was changed, removed, added or"
    " moved since it was signed. It does not prove what came after it, nor that what people"
    " entered was true."
)


PROVES_RESTORED = (
    "  证明：标为一致的检查点之前，自签署以来无一改动。恢复备份时丢失的部分除外，你已接受理由。\n"
    "  This proves that nothing before the checkpoints marked as held was changed since they were"
    " signed. What a restore lost is beyond proof; you accepted its reason."
)


@app.command()
def key(
    public: Annotated[bool, typer.Option("--public", help="Only show the public key.")] = False,
    origin: Annotated[
        str | None, typer.Option("--origin", help="The key's name; default: audit.origin.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The key's file; default: audit.key_file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """签名密钥 / Make a signing key, never replacing one; print its origin and public key."""
    from loopwright.settings import load_settings

    settings = load_settings()
    path = out or settings.audit.key_file
    made = existing_key(settings, out) if public else new_key(path, origin or settings.audit.origin)
    document = {"origin": made.name, "vkey": str(made.public)}
    if not public:
        document["file"] = str(path)

    def human() -> None:
        say(f"origin  {made.name}\nvkey    {made.public}")
        if not public:
            say(f"✓ {path}：只留给签署者；公钥交给审计 / for the signer alone; hand out the vkey")

    emit(document, as_json, human)


def existing_key(settings: "Settings", path: Path | None) -> "SigningKey":
    from loopwright.errors import EnvironmentFault
    from loopwright.history.note import read_key
    from tasks.audit.seal_history import KEY_FIX, signing_key

    found = read_key(path) if path else signing_key(settings)
    if found is None:
        raise EnvironmentFault("there is no signing key here", KEY_FIX)
    return found


def new_key(path: Path, origin: str | None) -> "SigningKey":
    from loopwright.history.note import NoteError, SigningKey, split_origin, write_key

    if not origin:
        raise InputError("the history has no name", "set audit.origin, such as bank.example/loop")
    try:
        made = SigningKey.generate(origin)
    except NoteError as error:
        raise InputError(str(error), "such as bank.example/loop") from None
    if split_origin(origin)[1] != 1:
        raise InputError(f"{origin!r} looks like an epoch", "leave /epoch-… out")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_key(path, made)
    return made


@app.command()
def checkpoint(
    since: Annotated[
        int | None, typer.Option("--since", help="Add the proof from this size, for a witness.")
    ] = None,
    restored: Annotated[
        bool, typer.Option("--restored", help="The signer knows why a new epoch begins.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """检查点 / Sign what is new; print the newest checkpoint, with a proof for a witness."""
    from loopwright.now import utc_now
    from tasks.audit.seal_history import newest_proof, seal, signing_key, unsealed

    with workspace(dry_run=dry_run) as ws:
        sealed = seal(ws, utc_now(), restored=restored)
        proof = newest_proof(ws, since)
        if signing_key(ws.settings) is None and (newer := unsealed(ws)):
            warn(f"此处无密钥，未签署 / not signed here: no key; {newer:,} 个新事件 newer events")
    document = {
        "note": proof.note,
        "sealed": sealed is not None,
        "since": proof.old,
        "proof": [entry.hex() for entry in proof.path],
    }
    emit(document, as_json, lambda: print_exactly(str(proof)))


@app.command()
def witness(
    given: Annotated[
        Path,
        typer.Argument(metavar="CHECKPOINT_FILE", help="What `audit checkpoint --since` printed."),
    ],
    key: Annotated[
        list[str],
        typer.Option(
            "--key",
            metavar="VKEY",
            help="The history's public key; once more for each it had before.",
        ),
    ],
    own_key: Annotated[Path, typer.Option("--own-key", help="Your own key's file.")],
    keep: Annotated[Path, typer.Option("--keep", help="Where your last checkpoint is kept.")],
    restored: Annotated[
        bool, typer.Option("--restored", help="Accept a new epoch and what its restore lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """见证 / On the auditor's machine: countersign a checkpoint that extends the last one kept."""
    from loopwright.history.note import read_key
    from tasks.audit.witness import countersign

    own = read_key(own_key)
    note, found = countersign(given, parse_keys(key), own, keep, restored=restored)
    warn(f"✓ 已加签 / countersigned: {found.origin} {found.size:,}")
    document = {"note": note, "origin": found.origin, "size": found.size, "root": found.root.hex()}
    emit(document, as_json, lambda: print_exactly(note))


@app.command()
def restored(
    reason: Annotated[str, typer.Option("--reason", help="Why, and from which backup.")],
    person: Person,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="The newest checkpoint kept outside.")
    ] = None,
    key: Vkeys = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """恢复备份后 / After a restore: put it on record and open a new epoch of checkpoints."""
    from dataclasses import asdict

    from loopwright.now import utc_now
    from tasks.audit.kept_outside import newest_known
    from tasks.audit.seal_history import restored, seal
    from tasks.audit.witness import checkpoints_in

    with workspace(dry_run=dry_run) as ws:
        signer = who_signs(ws.settings, key, required=checkpoint is not None)
        given = checkpoints_in(checkpoint, signer).checkpoints if checkpoint and signer else []
        outside = newest_known(ws.settings.audit, signer, given)
        said = restored(ws, reason, actor(ws, person), utc_now(), outside)
        sealed = seal(ws, utc_now(), restored=True)
    document = asdict(said) | {
        "outside": outside.size if outside else None,
        "sealed": sealed.size if sealed else None,
    }
    emit(document, as_json, lambda: tell_restored(said, outside, sealed))


def tell_restored(
    said: "Restored", outside: "Checkpoint | None", sealed: "Checkpoint | None"
) -> None:
    say(f"✓ 纪元 / epoch {said.epoch}")
    if outside is None:
        say("  丢失多少未知：没有外部检查点 / how much was lost is unknown: no checkpoint outside")
    elif said.lost:
        say(f"  备份保有 / the backup held {said.kept:,}；外部 outside {outside.size:,}")
        say("  其间的事件已丢失，请告知审计 / what lies between is lost: tell the auditors why")
    else:
        say("  外部检查点之前没有丢失 / nothing before the checkpoint outside was lost")
    if sealed is None:
        say("  签署者须确认 / the signer confirms it: loopwright audit checkpoint --restored")


@app.command()
def renewed(
    to: Annotated[str, typer.Option("--to", metavar="VKEY", help="The new public key.")],
    reason: Annotated[str, typer.Option("--reason", help="Why: its time, a loss, a theft.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """换密钥 / Put on record that a new key signs from here on; then give it to the signer."""
    from loopwright.now import utc_now
    from tasks.audit.seal_history import renewed

    key = parse_keys([to]).keys[0]
    with workspace(dry_run=dry_run) as ws:
        renewed(ws, key, reason, actor(ws, person), utc_now())
    emit({"key": to, "dry_run": dry_run}, as_json, lambda: tell_renewed(to, dry_run=dry_run))


def tell_renewed(vkey: str, *, dry_run: bool) -> None:
    say(f"{'○' if dry_run else '✓'} {vkey}")
    say("  签名者：audit.key_file 换成新密钥，旧公钥加入 audit.former_keys；公钥书面交给审计")
    say("  The signer: audit.key_file is the new key, audit.former_keys gains the old public key;")
    say("  hand the new public key to the auditors in writing")


@app.command()
def replay(as_json: AsJson = False) -> None:
    """重建并比对 / Rebuild what events determine and compare; exit 1 on a difference."""
    from dataclasses import asdict

    from tasks.audit.replay import COMPARED, NOT_COMPARED
    from tasks.audit.replay import replay as replay_history

    with workspace() as ws, ws.db.read() as tx:
        payloads = fingerprint_of(ws)
        result = replay_history(tx, payloads)
    document = asdict(result) | {
        "payloads": payloads is not None,
        "compared": dict(COMPARED),
        "not_compared": dict(NOT_COMPARED),
    }
    emit(document, as_json, lambda: tell_replay(result, payloads=payloads is not None))
    sys.exit(1 if result.differences else 0)


def fingerprint_of(ws: "Workspace") -> "Fingerprint | None":
    """The keyed hash of payloads; None where its secret is not known, as to an auditor."""
    from functools import partial

    from loopwright.errors import EnvironmentFault

    try:
        return partial(ws.hasher.fingerprint, "payload")
    except EnvironmentFault:
        return None


def tell_replay(result: "Replay", *, payloads: bool) -> None:
    """What differs, what was compared and what was not."""
    from tasks.audit.replay import COMPARED, NOT_COMPARED

    for line in result.listed:
        say(line)
    if result.differences > len(result.listed):
        say(f"… {result.differences - len(result.listed):,} 处未列出 more")
    mark = "✗" if result.differences else "✓"
    say(
        f"{mark} {result.loops:,} loops from {result.events:,} events,"
        f" {result.made + result.records:,} rows held against them,"
        f" {result.differences:,} differences"
    )
    for what, times in result.incomparable.items():
        say(f"⚠ 无从比对 not comparable: {times:,} × {what}")
    if not payloads:
        say("⚠ 缺身份密钥，未重算原文摘要 / no identity secret: payloads not hashed again")
    say(f"  已比对 compared: {', '.join(sorted(COMPARED))}")
    say(f"  未比对 not compared: {', '.join(sorted(NOT_COMPARED))}")
    say("  各表比对哪些列，见 docs/audit.md / which columns of each: docs/audit.md")


Secret = Annotated[str | None, typer.Option(metavar="VALUE", help="`-` asks for it unseen.")]


@app.command()
def erase(
    person: Person,
    why: Annotated[str, typer.Option(help="Who asked, and how; without the customer's name.")],
    authority: Annotated[
        str | None, typer.Option(metavar="AUTHORITY", help="customer-request, court or regulator.")
    ] = None,
    customer: Annotated[
        str | None, typer.Option(metavar="ID", help="A customer's id, or that of their loop.")
    ] = None,
    number: Secret = None,
    phone: Secret = None,
    mail: Secret = None,
    openid: Secret = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="All that `audit retention` lists.")
    ] = False,
    again: Annotated[
        Path | None, typer.Option(metavar="BUNDLE.zip", help="After a restore: all it says of.")
    ] = None,
    key: Vkeys = None,
    close: Annotated[bool, typer.Option("--close", help="Withdraw what is open first.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """删除客户的话和身份 / Erase a customer's words and identity; the history stays provable."""
    from dataclasses import asdict

    from loopwright.now import utc_now
    from tasks.privacy.retain import erase_again, erase_passed, passed

    given = {"number": number, "phone": phone, "mail": mail, "openid": openid}
    keys = [(kind, unseen(kind, value)) for kind, value in given.items() if value is not None]
    if [customer is not None, bool(keys), expired, again is not None].count(True) != 1:
        raise InputError("nobody is named", "give --customer, keys, --expired or --again")
    if (expired or again is not None) != (authority is None):
        raise InputError("by whose authority?", "give --authority with a customer, else none")
    if key and again is None:
        raise InputError("--key is for --again", "it says who must have signed the bundle")
    with workspace(dry_run=dry_run) as ws:
        by, now = actor(ws, person), utc_now()
        if expired:
            found = passed(ws, now)
            name, result = f"{len(found)}", erase_passed(ws, found, why, by, now)
        elif again and (signer := who_signs(ws.settings, key, required=True)):
            number_known, result = erase_again(ws, again, signer, why, by, now)
            name = str(number_known)
        else:
            name, result = erase_one(ws, customer, keys, str(authority), why, by, now, close)
    document = {"subject": name, "dry_run": dry_run} | asdict(result)
    emit(document, as_json, lambda: say_erased(name, result, dry_run=dry_run))


def erase_one(
    ws: "Workspace",
    customer: str | None,
    keys: "list[tuple[str, str]]",
    authority: str,
    why: str,
    by: "Actor",
    now: "datetime",
    close: bool,
) -> "tuple[str, Erased]":
    from models.kinds import Authority
    from tasks.privacy.erase import Order, erase
    from tasks.privacy.personal import find_subject

    chosen = choose(Authority, authority, "authority")
    if chosen is Authority.RETENTION:
        raise InputError("retention is for --expired", "name who asked for it")
    with ws.db.read() as tx:
        subject = find_subject(tx, ws, customer, keys)
    return subject.name, erase(ws, subject, Order(chosen, why, by), now, close=close)


def say_erased(name: str, result: "Erased", *, dry_run: bool) -> None:
    if result.nothing:
        say(f"{'○' if dry_run else '✓'} {name}: 没有可删除的内容 / nothing was there to erase")
    else:
        say(
            f"{'○' if dry_run else '✓'} {name}: {result.bodies} 份正文 bodies,"
            f" {result.items} 条记录 items, {result.keys} 个标识 keys,"
            f" {result.messages} 条消息 messages, {result.files} 个文件 files"
        )
    if result.closed or result.decided:
        say(f"  撤回 withdrawn: {result.closed}; 不再判定 noted: {result.decided}")
    if result.missing:
        say(f"  {result.missing} 个已写出的文件不在本机，请在原处删除")
        say(f"  {result.missing} rendered files are not here: delete them where they are")
    if result.unparsed:
        say(f"  {result.unparsed} 条记录尚未解析，解析后请再执行一次")
        say(f"  {result.unparsed} items are not parsed yet: run this again when they are")
    if not (dry_run or result.nothing):
        say("  字节仍在数据库文件中，请由数据库所有者执行 loopwright audit scrub")
        say("  The bytes are still in the database's files: its owner runs loopwright audit scrub")


def unseen(kind: str, value: str) -> str:
    """A key as typed, or asked for without showing it."""
    return str(typer.prompt(kind, hide_input=True, err=True)) if value == "-" else value


@app.command()
def retention(limit: Limit = 50, as_json: AsJson = False) -> None:
    """到期清单 / Whose words have passed their retention time; nothing is erased."""
    from loopwright.now import utc_now
    from tasks.privacy.retain import passed

    with workspace() as ws:
        found = passed(ws, utc_now(), limit)
    rows = [
        {
            "subject": one.subject.name,
            "class": one.retention,
            "until": one.until.isoformat(),
            "loops": one.loops,
            "feedback": one.feedback,
        }
        for one in found
    ]

    def human() -> None:
        names = ("subject", "class", "until", "loops", "feedback")
        table("到期 passed", names, [[row[name] for name in names] for row in rows])
        if len(rows) == limit:
            say(f"  … --limit {limit}")

    emit({"items": rows}, as_json, human)


@app.command()
def scrub(person: Person = "", as_json: AsJson = False) -> None:
    """清除已删内容的字节 / Make the bytes of what was erased go; exit 1 where some are left."""
    from dataclasses import asdict

    from loopwright.now import utc_now
    from tasks.privacy.scrub import scrub as scrub_database

    with workspace() as ws:
        result = scrub_database(ws.db, actor_or_program(ws, person), utc_now())

    def human() -> None:
        for done in result.done:
            say(f"✓ {done}")
        for left in result.left:
            say(f"✗ 未能清除 left: {left}")
        say("  备份、归档和备库不受影响 / backups, archives and standbys keep what they have")

    emit(asdict(result) | {"complete": result.complete}, as_json, human)
    sys.exit(0 if result.complete else 1)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="A new file.")],
    person: Person,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="ISO|SEQ", help="From this day, moment or position on."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="ISO|SEQ", help="To this day, moment or position, included."),
    ] = None,
    loop: Annotated[
        str | None, typer.Option("--loop", metavar="ID", help="Only this loop's events.")
    ] = None,
    bodies: Annotated[
        str | None,
        typer.Option(
            "--bodies",
            metavar="none|all|LOOPS",
            help="Whose words travel; loops joined by commas. Usual: none, with --loop all.",
        ),
    ] = None,
    since: Annotated[
        int | None,
        typer.Option("--since", metavar="SIZE", help="A checkpoint that the auditor holds."),
    ] = None,
    wait: Annotated[
        int, typer.Option("--wait", min=0, help="Seconds to wait for a signer that runs elsewhere.")
    ] = 600,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """导出审计包 / Write a bundle that `tools/verify_history.py` proves offline."""
    from dataclasses import asdict
    from functools import partial

    from loopwright.now import utc_now
    from tasks.audit.bundle_file import refuse_existing
    from tasks.audit.export_history import export as export_history
    from tasks.audit.export_history import plan, seal_past

    with workspace(dry_run=dry_run) as ws:
        by, asked = actor(ws, person), asked_for(ws, first, last, loop, bodies, since)
        refuse_existing(out)
        if dry_run:
            planned = plan(ws, asked)
            words = f"○ seq {planned['first']:,} 起 from: {planned['count']:,} 个事件 events，"
            emit(planned, as_json, lambda: say(f"{words}{planned['chosen']:,} 份正文 bodies"))
            return
        waiting = partial(warn, f"等待签署者 / waiting for the signer, at most {wait} s …")
        seal_up_to = partial(seal_past, ws, clock=utc_now, wait=wait, say_waiting=waiting)
        made = export_history(ws, out, asked, by, utc_now(), seal_up_to)
    emit(asdict(made), as_json, lambda: tell_export(made))


def asked_for(
    ws: "Workspace",
    first: str | None,
    last: str | None,
    loop: str | None,
    bodies: str | None,
    since: int | None,
) -> "Asked":
    """The options as a question. Raises InputError for words that are none."""
    from tasks.audit.bundle_part import Asked

    if loop is not None and (first is not None or last is not None):
        raise InputError("--loop takes the whole loop", "leave --from and --to out")
    chosen = bodies or ("none" if loop is None else "all")
    return Asked(
        loop,
        None if first is None else place(ws, first, time.min),
        None if last is None else place(ws, last, time.max),
        "all" if chosen == "all" else "none" if chosen == "none" else tuple(chosen.split(",")),
        since,
    )


def place(ws: "Workspace", text: str, within: time) -> "int | datetime":
    """A position, or a moment in the organisation's zone; a day alone is its beginning or end."""
    if text.isdecimal():
        return int(text)
    zone = ZoneInfo(ws.published.documents.organisation.zone)
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(text), within, zone)
        moment = datetime.fromisoformat(text)
    except ValueError:
        fix = "write 2026-01-31, 2026-01-31T17:00, or a position such as 1200"
        raise InputError(f"{text!r} is neither a time nor a position", fix) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def tell_export(made: "Exported") -> None:
    say(
        f"✓ {made.path}：{made.count:,} 个事件 events，{made.bodies:,} 份正文 bodies，"
        f"{made.erased:,} 份已删除 erased，{made.documents:,} 份文档 documents，{made.size:,} B"
    )
    say(
        f"  已记为 recorded at seq {made.seq:,}，由检查点封存 sealed by checkpoint"
        f" {made.checkpoint:,}"
    )
    say("  核验：用交接时得到的程序和公钥，不用包里的任何东西。")
    say("  Verify with the program and the key of the handover, never with what came in the zip:")
    say(f"  python3 verify_history.py {made.path} --key 'ORIGIN+KEYID+KEY'")


@app.command()
def sample(
    number: Annotated[int, typer.Option("--n", min=1, max=10_000, help="How many.")],
    seed: Annotated[str, typer.Option("--seed", help="Any words; the auditor chooses them.")],
    checkpoint: Annotated[
        int | None, typer.Option("--checkpoint", metavar="SIZE", help="Instead of the last one.")
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Events instead of loops.")] = False,
    key: Vkeys = None,
    as_json: AsJson = False,
) -> None:
    """抽样 / Draw loops that anybody can draw again from the checkpoint and the seed."""
    from base64 import b64encode
    from dataclasses import asdict

    from tasks.audit.sample_history import sample as sample_history

    with workspace() as ws:
        signer = who_signs(ws.settings, key, required=False)
        with ws.db.read() as tx:
            found = sample_history(tx, number, seed, size=checkpoint, events=events, signer=signer)
    root = b64encode(found.checkpoint.root).decode()

    def human() -> None:
        heading = ("seq", "loop", "kind", "event")
        rows = [(one.seq, one.loop, one.kind, one.event) for one in found.drawn]
        table(f"{found.checkpoint.origin} {found.checkpoint.size} {root}", heading, rows)
        if not events:
            loops = ",".join(str(one.loop) for one in found.drawn)
            say("  逐个导出，或一次带上全部正文 / one by one, or all with their words at once:")
            say("  loopwright audit export LOOP.zip --loop LOOP --as PERSON")
            say(f"  loopwright audit export SAMPLE.zip --as PERSON --bodies {loops}")

    items = [asdict(one) for one in found.drawn]
    about = {"origin": found.checkpoint.origin, "size": found.checkpoint.size, "root": root}
    emit(about | {"seed": seed, "draws": found.draws, "items": items}, as_json, human)
