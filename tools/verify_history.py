#!/usr/bin/env python3
"""Does this bundle hold what the history held? One file, standard library only, no network.

    python3 verify_history.py BUNDLE.zip --key 'ORIGIN+KEYID+KEY' [--witness VKEY] [--since FILE]

Where the signing key was renewed, give every key as it was handed over, the present one first: it
must have signed the last checkpoint, and each other checkpoint one of them.

Exit code 0: proven, 1: refused (the first reason is said), 2: used wrongly. Needs Python 3.9+.
Take this file and the key from the handover, never from where the bundle came from.

A bundle (`loopwright-bundle/1`) is a zip of these members in this order:

    events.ndjson    exact events, one a line: a whole stretch of the history, or one loop's events
    bodies.ndjson    {"body","event","salt"}: words and identity of chosen events, in their order
    config/N/FILE    the documents of publication N, byte for byte; all that the events name
    erasures.ndjson  events outside the stretch that erased chosen bodies
    publications.ndjson  events outside the stretch that published the documents in config/
    exported.json    the event that this bundle was made, without a line feed; its data holds kind,
                     first, count, loop, the number of chosen bodies, `sha256:` and each name of the
                     .ndjson members, and `sha256:config` over the sorted lines "HASH  NAME"
    checkpoints.txt  signed statements of the history's size and root, growing, parted by lines of
                     U+001E; the last one covers the exported event
    proofs.json      hashes that lead to the last checkpoint (RFC 9162): of the range's end, of each
                     single event, and from one checkpoint to the next where the range does not.
                     JSON of these lines: `{"events":{`, each event's proof on one in the order of
                     the members (a loop's events, erasures, publications, exported), `},`, the rest
    manifest.json    what was asked for, counts, totals (`control`: events, loops, bodies, erased),
                     the members' hashes, and statements of the software

An event is hashed as it stands, SHA-256(0x00 ‖ line); pairs of hashes as SHA-256(0x01 ‖ l ‖ r).
`first` is null in a loop's bundle, `loop` in a range's. The zip holds nothing else: no comments, no
extra fields but sizes (zip64), nothing between, before or behind the members.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import struct
import sys
import zlib
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, NamedTuple, NoReturn  # noqa: UP035 (3.9)

FORMAT = "loopwright-bundle/1"
EVENTS, BODIES, ERASURES = "events.ndjson", "bodies.ndjson", "erasures.ndjson"
PUBLICATIONS = "publications.ndjson"
EXPORTED, CHECKPOINTS = "exported.json", "checkpoints.txt"
PROOFS, MANIFEST = "proofs.json", "manifest.json"
CONFIG = "config/"
OUTSIDE = {
    ERASURES: ("body.erased", "erasure"),
    PUBLICATIONS: ("documents.published", "publication"),
}
"""The members of events outside of the stretch: which kind, and the reason to refuse others."""
ORDER = (EVENTS, BODIES, CONFIG, *OUTSIDE, EXPORTED, CHECKPOINTS, PROOFS, MANIFEST)

CHUNK = 1 << 18
MAX_LINE = 1 << 23
MAX_PROOF = 1 << 14
MAX_WHOLE = {MANIFEST: 1 << 24, CHECKPOINTS: 1 << 24, EXPORTED: 1 << 20}
MAX_PARTS = 1_000_000
LONG = 1 << 16
MAX_RATIO, RATIO_FROM = 200, 1 << 24
MAX_MEMBERS = 100_000
MAX_DIRECTORY = 1 << 25
MAX_HELD = 1_000
MAX_EPOCH = 10**9
MAX_SAFE_INTEGER = 2**53 - 1
MINUTE = timedelta(minutes=1)


# --- Words -----------------------------------------------------------------------------------

REASONS = {
    "zip": ("不是完好的 zip 文件：{0}", "not a sound zip file: {0}"),
    "zip_layout": (
        "zip 内有多余字节或成员重叠",
        "the zip holds extra bytes or overlapping members",
    ),
    "zip_name": ("成员名 {0!r} 不允许", "the member name {0!r} is not allowed"),
    "zip_twice": ("成员 {0} 出现两次", "the member {0} stands twice"),
    "zip_order": ("成员 {0} 顺序不对", "the member {0} is out of order"),
    "zip_unknown": ("多余的成员 {0!r}", "unknown member {0!r}"),
    "zip_key": (
        "包内自带密钥 {0!r}；密钥必须来自包外",
        "the bundle brings its own key {0!r}; a key must come from outside",
    ),
    "zip_missing": ("缺少成员 {0}", "the member {0} is missing"),
    "zip_many": ("成员过多", "too many members"),
    "zip_ratio": ("压缩比过高，疑似压缩炸弹", "it unpacks suspiciously large"),
    "zip_size": ("成员过大", "the member is too large"),
    "memory": ("内存不足，核验未完成", "out of memory before the end"),
    "zip_stream": ("压缩数据有误或有多余字节", "the packed data is broken or has trailing bytes"),
    "line_end": ("最后一行没有换行", "the last line does not end"),
    "line_long": ("行过长", "the line is too long"),
    "utf8": ("不是 UTF-8", "not UTF-8"),
    "json": ("不是 JSON：{0}", "not JSON: {0}"),
    "json_twice": ("JSON 键 {0!r} 重复", "the JSON key {0!r} stands twice"),
    "json_parts": ("JSON 的部分过多", "JSON of too many parts"),
    "json_canonical": ("不是规范 JSON", "not canonical JSON"),
    "shape": ("内容不合格式：{0}", "not of the format: {0}"),
    "key": ("公钥无效：{0}", "not a usable public key: {0}"),
    "note": ("检查点格式有误：{0}", "the checkpoint is badly formed: {0}"),
    "note_signature": ("{0} 的签名无效", "the signature of {0} is wrong"),
    "note_unsigned": (
        "检查点没有 {0} 的签名（若换过密钥，旧公钥也要用 --key 给出）",
        "the checkpoint is not signed by {0} (where the key was renewed, add the former --key)",
    ),
    "note_former": (
        "最后一个检查点不是由现用密钥（第一个 --key）签署，而是由更早的密钥",
        "the last checkpoint is signed by a former key, not by the present one (the first --key)",
    ),
    "renewed": (
        "历史在位置 {0} 换了密钥，大小为 {1} 的检查点却不是由新密钥签署",
        "the history changed its key at position {0}, yet checkpoint {1} is not signed by that key",
    ),
    "restored": (
        "大小为 {0} 的检查点属于第 {1} 纪元，依恢复事件应属第 {2} 纪元",
        "checkpoint {0} is of epoch {1}; by the events of restores it should be of epoch {2}",
    ),
    "note_origin": ("检查点属于 {0!r}，不是 {1!r}", "the checkpoint is of {0!r}, not of {1!r}"),
    "note_order": ("检查点没有按大小递增", "the checkpoints do not grow"),
    "consistency": (
        "检查点 {0} 与 {1} 不一致：历史被改写过",
        "the checkpoints {0} and {1} contradict each other: the history was rewritten",
    ),
    "consistency_missing": (
        "缺少检查点 {0} 到 {1} 的一致性证明",
        "no consistency proof from checkpoint {0} to {1}",
    ),
    "tree": (
        "事件与大小为 {0} 的检查点不符：有事件被改、删、增或换位",
        "the events do not make up checkpoint {0}: one was changed, removed, added or moved",
    ),
    "inclusion": (
        "事件 {0} 不在检查点 {1} 的历史里",
        "the event {0} is not in the history of checkpoint {1}",
    ),
    "proof_missing": ("事件 {0} 没有证明", "the event {0} has no proof"),
    "proof_extra": ("多余的证明：{0}", "a proof for nothing in the bundle: {0}"),
    "event_twice": ("事件编号 {0} 出现两次", "the event id {0} stands twice"),
    "loop_gap": (
        "循环 {0}：应为第 {1} 个事件，实为第 {2} 个",
        "loop {0}: event {1} was due, event {2} stands here",
    ),
    "loop_other": ("事件属于循环 {0!r}", "the event belongs to the loop {0!r}"),
    "seq_order": ("事件位置没有递增", "the positions of the events do not grow"),
    "count": ("应有 {0} 个事件，实有 {1} 个", "{0} events are claimed, {1} are here"),
    "body_commit": (
        "正文与事件 {0} 的承诺不符",
        "the body does not match what the event {0} committed to",
    ),
    "body_missing": (
        "事件 {0} 的正文被选中，却既不在包内，也没有删除事件",
        "the body of event {0} was chosen, but is neither here nor erased by an event",
    ),
    "body_extra": (
        "正文属于 {0}：不是接下来被选中的事件",
        "the body is of {0}: no chosen event that comes next here",
    ),
    "body_unknown": (
        "选中的 {0} 不是包内有正文的事件",
        "{0} was chosen, but no event here has such a body",
    ),
    "body_erased": (
        "事件 {0} 的正文已被删除，却仍在包内",
        "the body of {0} was erased, yet is here",
    ),
    "erasure_reason": (
        "删除 {0} 的事件没有写明理由、依据或经手人",
        "the erasure of {0} does not say why, by whose authority or by whom",
    ),
    "erasure": ("{0} 没有删除本包选中的正文", "{0} erased no body that was chosen here"),
    "exported": ("导出事件与清单不符：{0}", "the exported event and the manifest differ: {0}"),
    "exported_place": (
        "导出事件不在本包事件之后",
        "the exported event does not come after the bundle's events",
    ),
    "exported_unsealed": (
        "没有覆盖导出事件的检查点",
        "no checkpoint covers the exported event",
    ),
    "hash": ("内容与导出事件记录的哈希不符", "not what the exported event has the hash of"),
    "hash_manifest": ("内容与清单的哈希不符", "not what the manifest has the hash of"),
    "publication": (
        "{0} 不是包内文档的发布事件",
        "{0} is not an event that published documents of this bundle",
    ),
    "published_twice": (
        "第 {0} 次发布有两个发布事件",
        "publication {0} was published by two events",
    ),
    "documents_missing": (
        "缺少事件所依据的第 {0} 次发布的文档",
        "the documents of publication {0}, on which events here rest, are missing",
    ),
    "documents_unpublished": (
        "没有事件发布过第 {0} 次发布的文档",
        "no event published the documents of publication {0}",
    ),
    "documents": (
        "第 {0} 次发布的文档不是当时发布的那些",
        "the documents of publication {0} are not those that were published",
    ),
    "manifest": ("清单的 {0} 与内容不符", "the manifest's {0} is not what the members hold"),
    "since_newer": (
        "包的最后检查点（{0}）早于你手中的（{1}）：包已旧，或历史被截短；请索取新的导出",
        "the bundle's last checkpoint ({0}) is before yours ({1}): an old bundle, or a history"
        " cut short; ask for a new export",
    ),
    "since_open": (
        "本包没有显示它延续你手中大小为 {0} 的检查点；请索取以 --since {0} 导出的包",
        "the bundle does not show that it continues your checkpoint of size {0}; ask for one that"
        " was exported with --since {0}",
    ),
    "since": (
        "历史与你手中大小为 {0} 的检查点矛盾",
        "the history contradicts the checkpoint of size {0} that you hold",
    ),
    "since_restored": (
        "你手中大小为 {0}（第 {1} 纪元）的检查点不在这部历史里：历史已从备份恢复，现为第 {2} 纪元；"
        "请追问丢了哪一段、为什么，用更早留存的检查点核对；知情之后可加 --restored，并给出恢复之后"
        "留存的检查点和含有恢复事件的导出",
        "your checkpoint of size {0} (epoch {1}) is not in this history, which was restored from a"
        " backup and is in epoch {2}; ask what was lost and why, and hold it against earlier"
        " checkpoints that you kept; once you know, give --restored, a checkpoint kept after the"
        " restore, and an export that holds its event",
    ),
    "witness": (
        "没有由见证人 {0} 签过、且覆盖全部事件的检查点",
        "no checkpoint that covers all events is signed by the witness {0}",
    ),
}


class Refused(Exception):
    """The bundle is not to be believed: why, and where it shows first."""

    def __init__(self, code: str, where: str, *facts: Any) -> None:
        self.code, self.where = code, where
        self.zh, self.en = (words.format(*facts) for words in REASONS[code])

    def __str__(self) -> str:
        return f"{self.where}: {self.zh} {self.en}"


# --- Ed25519 (RFC 8032 section 5.1), verification only ---------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = Any
"""Extended coordinates (X, Y, Z, T) with x = X/Z, y = Y/Z, x·y = T/Z."""

NEUTRAL = (0, 1, 1, 0)


def add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def decode_point(encoded: bytes) -> Point | None:
    """The point, or None when the bytes are no point or not its only encoding."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if len(encoded) != 32 or y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def encode_point(p: Point) -> bytes:
    inverse = pow(p[2], -1, P)
    x, y = p[0] * inverse % P, p[1] * inverse % P
    return int(y | (x & 1) << 255).to_bytes(32, "little")


class Multiples:
    """A point times every byte value at every byte position: each product costs 32 additions."""

    def __init__(self, point: Point) -> None:
        self.rows = []
        for _ in range(32):
            row = [NEUTRAL]
            for _ in range(255):
                row.append(add(row[-1], point))
            self.rows.append(row)
            point = add(row[-1], point)

    def times(self, scalar: int) -> Point:
        product = NEUTRAL
        for at, byte in enumerate(scalar.to_bytes(32, "little")):
            product = add(product, self.rows[at][byte])
        return product


BASE: list[Multiples] = []


def base() -> Multiples:
    if not BASE:
        BASE.append(Multiples(decode_point(bytes([0x58] + [0x66] * 31))))
    return BASE[0]


class Ed25519:
    """A public key of 32 bytes. Raises ValueError for what is none."""

    def __init__(self, public: bytes) -> None:
        point = decode_point(public)
        if point is None:
            raise ValueError("no point of the curve")
        eight = add(point, point)
        eight = add(eight, eight)
        eight = add(eight, eight)
        if eight[0] == 0:
            raise ValueError("a point of small order")
        self.public = public
        self.negative = Multiples((P - point[0], point[1], 1, P - point[3]))

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Is it the signature? An S of L or more is refused, so no second one can be made."""
        r, s = signature[:32], int.from_bytes(signature[32:], "little")
        if len(signature) != 64 or s >= L:
            return False
        k = int.from_bytes(sha512(r + self.public + message).digest(), "little") % L
        return encode_point(add(base().times(s), self.negative.times(k))) == r


# --- The tree (RFC 9162 section 2.1) ---------------------------------------------------------


def leaf_hash(content: bytes) -> bytes:
    return sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def push(frontier: list[bytes], size: int, leaf: bytes) -> None:
    """Append a leaf to the roots of the full subtrees of a tree of `size` leaves."""
    while size & 1:
        leaf = sha256(b"\x01" + frontier.pop() + leaf).digest()
        size >>= 1
    frontier.append(leaf)


def root_of(frontier: list[bytes]) -> bytes:
    if not frontier:
        return sha256(b"").digest()
    root = frontier[-1]
    for subtree in frontier[-2::-1]:
        root = node_hash(subtree, root)
    return root


def left_size(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def root_from_path(leaf: bytes, seq: int, size: int, path: list[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to; None when its length is wrong."""
    if size == 1 or not path:
        return leaf if size == 1 and not path else None
    k, rest, sibling = left_size(size), path[:-1], path[-1]
    if seq < k:
        inner = root_from_path(leaf, seq, k, rest)
        return inner and node_hash(inner, sibling)
    inner = root_from_path(leaf, seq - k, size - k, rest)
    return inner and node_hash(sibling, inner)


def roots_from_path(
    old: int, new: int, path: list[bytes], known: bytes | None
) -> tuple[bytes, bytes] | None:
    """Both roots that a consistency proof leads to; `known` is the old root while it is whole."""
    if old == new:
        if len(path) != (known is None):
            return None
        return (known, known) if known is not None else (path[0], path[0])
    if not path:
        return None
    k, rest, sibling = left_size(new), path[:-1], path[-1]
    if old <= k:
        inner = roots_from_path(old, k, rest, known)
        return inner and (inner[0], node_hash(inner[1], sibling))
    inner = roots_from_path(old - k, new - k, rest, None)
    return inner and (node_hash(sibling, inner[0]), node_hash(sibling, inner[1]))


def included(leaf: bytes, seq: int, size: int, path: list[bytes], root: bytes) -> bool:
    return 0 <= seq < size and root_from_path(leaf, seq, size, path) == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: list[bytes]) -> bool:
    if old == 0:
        return not path and old_root == root_of([])
    return old <= new and roots_from_path(old, new, path, old_root) == (old_root, new_root)


# --- Checkpoints (C2SP signed-note and tlog-checkpoint) --------------------------------------


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes
    signers: frozenset[str]


@dataclass(frozen=True)
class Key:
    """A key the auditor brought: name, the four bytes that lines name it by, and the key."""

    name: str
    id: bytes
    ed25519: Ed25519
    text: str


def read_key(vkey: str) -> Key:
    """`NAME+KEYID+BASE64` of C2SP signed-note, Ed25519 (type 1) only."""
    name, _, rest = vkey.partition("+")
    keyid, _, encoded = rest.partition("+")
    try:
        typed = exact_base64(encoded)
        if not good_name(name) or typed[:1] != b"\x01":
            raise ValueError("NAME+KEYID+BASE64, Ed25519")
        expected = sha256(name.encode() + b"\n" + typed).digest()[:4]
        if expected.hex() != keyid:
            raise ValueError(f"id {expected.hex()}")
        return Key(name, expected, Ed25519(typed[1:]), vkey)
    except ValueError as error:
        raise Refused("key", "--key", str(error)) from None


def read_keys(vkeys: list[str]) -> list[Key]:
    """The keys of one history, the present one first."""
    keys = [read_key(vkey) for vkey in vkeys]
    for key in keys:
        if key.name != keys[0].name:
            raise Refused("key", "--key", f"{key.name}, {keys[0].name}")
    return keys


def exact_base64(text: str) -> bytes:
    decoded = b64decode(text, validate=True)
    if b64encode(decoded).decode() != text:
        raise ValueError("base64")
    return decoded


def good_name(name: str) -> bool:
    return bool(name) and "+" not in name and name == "".join(name.split()) and name.isprintable()


def read_note(note: str, keys: Iterable[Key], where: str) -> Checkpoint:
    """Take a note apart, check every known key's line, and read its checkpoint."""
    text, gap, below = note.rpartition("\n\n")
    controls = any(character < " " and character != "\n" for character in note)
    if not gap or not below.endswith("\n") or controls or below.count("\n") > 100:
        raise Refused("note", where, "text, empty line, signatures")
    text += "\n"
    lines = [signature_line(line, where) for line in below[:-1].split("\n")]
    signers = frozenset(key.text for key in keys if signed(text, lines, key, where))
    return Checkpoint(*checkpoint_fields(text, where), signers)


def signature_line(line: str, where: str) -> tuple[str, bytes]:
    words = line.split(" ")
    try:
        if len(words) != 3 or words[0] != "\u2014" or not good_name(words[1]):
            raise ValueError
        both = exact_base64(words[2])
        if len(both) < 5:
            raise ValueError
    except ValueError:
        raise Refused("note", where, "signature line") from None
    return words[1], both


def signed(text: str, lines: list[tuple[str, bytes]], key: Key, where: str) -> bool:
    """Did this key sign? Refused when its line is wrong or stands twice."""
    found = [both[4:] for name, both in lines if name == key.name and both[:4] == key.id]
    if len(found) > 1 or (found and not key.ed25519.verify(text.encode(), found[0])):
        raise Refused("note_signature", where, key.name)
    return bool(found)


def checkpoint_fields(text: str, where: str) -> tuple[str, int, bytes]:
    lines = text.split("\n")
    try:
        if len(lines) != 4 or not lines[0] or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
            raise ValueError
        origin, size, root = lines[0], int(lines[1]), exact_base64(lines[2])
        if len(root) != 32 or size >= 2**63:
            raise ValueError
    except ValueError:
        raise Refused("note", where, "origin, size, root") from None
    return origin, size, root


def epoch_of(origin: str, name: str) -> int | None:
    """1 for the name itself, n for NAME/epoch-n from 2 on; None for another history."""
    found = re.fullmatch("(?:/epoch-([2-9]|[1-9][0-9]{1,8}))?", origin[len(name) :])
    if not origin.startswith(name) or not found:
        return None
    return int(found[1] or 1)


# --- The zip file ----------------------------------------------------------------------------


class Member(NamedTuple):
    """What the zip's directory says of a member, and where its packed bytes start."""

    name: str
    deflated: bool
    crc: int
    packed: int
    size: int
    start: int


class Archive:
    """A zip whose every byte is accounted for: no gaps, no overlaps, nothing behind the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digests: dict[str, str] = {}
        try:
            with open(path, "rb") as file:
                members = read_directory(file)
        except (struct.error, UnicodeDecodeError) as error:
            raise Refused("zip", path.name, error) from None
        check_names([member.name for member in members])
        self.members = {member.name: member for member in members}

    def chunks(self, name: str) -> Iterator[bytes]:
        """A member's content; its SHA-256 stands in `digests` afterwards."""
        member, digest, size, crc = self.members[name], sha256(), 0, 0
        for packed, data in self.unpack(member):
            digest.update(data)
            crc, size = zlib.crc32(data, crc), size + len(data)
            if size > RATIO_FROM and size > MAX_RATIO * packed:
                raise Refused("zip_ratio", name)
            if size > member.size:
                raise Refused("zip_stream", name)
            yield data
        if (crc, size) != (member.crc, member.size):
            raise Refused("zip_stream", name)
        self.digests[name] = digest.hexdigest()

    def unpack(self, member: Member) -> Iterator[tuple[int, bytes]]:
        """Pieces of content, each with the count of packed bytes read so far."""
        inflate = zlib.decompressobj(-15)
        with open(self.path, "rb") as file:
            file.seek(member.start)
            left = member.packed
            while left:
                packed = file.read(min(CHUNK // 4, left))
                if not packed or inflate.eof:
                    raise Refused("zip_stream", member.name)
                left -= len(packed)
                done = member.packed - left
                if not member.deflated:
                    yield done, packed
                    continue
                for data in inflated(inflate, packed, member.name):
                    yield done, data
        if member.deflated:
            yield member.packed, inflate.flush()
            if not inflate.eof or inflate.unused_data:
                raise Refused("zip_stream", member.name)

    def lines(self, name: str) -> Iterator[bytes]:
        """A member's lines without their line feeds."""
        rest = b""
        for chunk in self.chunks(name):
            parts = (rest + chunk).split(b"\n")
            rest = parts.pop()
            if len(rest) > MAX_LINE or (parts and len(parts[0]) > MAX_LINE):
                raise Refused("line_long", name)
            yield from parts
        if rest:
            raise Refused("line_end", name)

    def whole(self, name: str) -> str:
        """A small member's text."""
        if self.members[name].size > MAX_WHOLE[name]:
            raise Refused("zip_size", name)
        try:
            return b"".join(self.chunks(name)).decode()
        except UnicodeDecodeError:
            raise Refused("utf8", name) from None

    def digest(self, name: str) -> str:
        if name not in self.digests:
            for _ in self.chunks(name):
                pass
        return self.digests[name]


def inflated(inflate: Any, packed: bytes, name: str) -> Iterator[bytes]:
    while packed:
        try:
            yield inflate.decompress(packed, CHUNK)
        except zlib.error:
            raise Refused("zip_stream", name) from None
        packed = inflate.unconsumed_tail


def check_names(names: list[str]) -> None:
    """Only known members, each once, in the format's order, and with names that stay inside."""
    if len(names) > MAX_MEMBERS:
        raise Refused("zip_many", "zip")
    last, seen = 0, set[str]()
    for name in names:
        if not safe_name(name):
            raise Refused("zip_name", "zip", name)
        if name in seen:
            raise Refused("zip_twice", "zip", name)
        seen.add(name)
        place = CONFIG if name.startswith(CONFIG) else name
        if place not in ORDER:
            key = name.lower().endswith((".vkey", ".pub", ".key", ".pem"))
            raise Refused("zip_key" if key else "zip_unknown", "zip", name)
        if ORDER.index(place) < last:
            raise Refused("zip_order", "zip", name)
        last = ORDER.index(place)
    for name in ORDER:
        if name != CONFIG and name not in seen:
            raise Refused("zip_missing", "zip", name)


def safe_name(name: str) -> bool:
    parts = name.split("/")
    plain = name.isprintable() and not set(name) & set('\\:*?"<>|')
    deep = not name.startswith(CONFIG) or len(parts) > 2
    return plain and deep and not any(part in ("", ".", "..") for part in parts)


ENTRY = struct.Struct("<4s6H3L5H2L")
HEADER = struct.Struct("<4s5H3L2H")
END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
WIDE = 0xFFFFFFFF
"""A size of 32 bits that stands in the extra field instead."""


def read_directory(file: Any) -> list[Member]:
    """The members as the directory has them. Those must fill the file up to the directory, and that
    up to the end."""
    count, start, size = read_end(file)
    if count > MAX_MEMBERS or size > MAX_DIRECTORY:
        raise Refused("zip_many", "zip")
    file.seek(start)
    directory, members, at, expected = file.read(size), list[Member](), 0, 0
    for _ in range(count):
        member, offset, flags, at = read_entry(directory, at)
        if offset != expected:
            raise Refused("zip_layout", member.name)
        file.seek(offset)
        member = member._replace(start=offset + check_header(file, member, flags))
        members.append(member)
        expected = member.start + member.packed
    if at != size or expected != start:
        raise Refused("zip_layout", "zip")
    return members


def read_end(file: Any) -> tuple[int, int, int]:
    """How many members there are, where the directory starts, and how long it is."""
    length = file.seek(0, 2)
    file.seek(max(0, length - 0x10000))
    tail = file.read()
    if tail.rfind(b"PK\5\6") != len(tail) - END.size:
        known = b"PK\5\6" in tail
        raise Refused("zip_layout" if known else "zip", "zip", "no end")
    _, _, _, _, count, size, start, _ = END.unpack(tail[-END.size :])
    end = length - END.size
    if tail[-END.size - LOCATOR.size :][:4] == b"PK\6\7":
        end -= LOCATOR.size + END64.size
        file.seek(max(0, end))
        wide = END64.unpack(file.read(END64.size))
        count, size, start = wide[7:]
        expected = (b"PK\6\6", END64.size - 12, *wide[2:4], 0, 0, count, count, size, start)
        if wide != expected or file.read(LOCATOR.size) != LOCATOR.pack(b"PK\6\7", 0, end, 1):
            raise Refused("zip_layout", "zip")
    narrow = (min(count, 0xFFFF), min(count, 0xFFFF), min(size, WIDE), min(start, WIDE))
    if start + size != end or tail[-END.size :] != END.pack(b"PK\5\6", 0, 0, *narrow, 0):
        raise Refused("zip_layout", "zip")
    return count, start, size


def read_entry(directory: bytes, at: int) -> tuple[Member, int, int, int]:
    """A member that starts nowhere yet, its header's place, its flags, and the next entry's place.

    It must be a regular file, deflated or stored, not encrypted, its sizes in its header.
    """
    mark, _, _, flags, method, _, _, crc, *found, kind, offset = ENTRY.unpack_from(directory, at)
    packed, size, named, more, comment, disk, _ = found
    at += ENTRY.size
    name = directory[at : at + named].decode("utf-8" if flags & 0x800 else "ascii")
    extra = directory[at + named : at + named + more]
    odd = flags & ~0x800 or method not in (0, 8) or comment or disk or kind & 0x10
    if mark != b"PK\1\2" or odd or kind >> 16 & 0o170000 not in (0, 0o100000):
        raise Refused("zip_layout", name)
    number = (size, packed, offset).count(WIDE)
    wide = list(struct.unpack(f"<2H{number}Q", extra)[2:] if number else ())
    if extra != wide_extra(wide):
        raise Refused("zip_layout", name)
    size, packed, offset = (wide.pop(0) if n == WIDE else n for n in (size, packed, offset))
    member = Member(name, method == 8, crc, packed, size, 0)
    return member, offset, flags, at + named + more


def check_header(file: Any, member: Member, flags: int) -> int:
    """The header's length. It must say what the directory says: some programs read only one."""
    mark, _, its, method, _, _, crc, packed, size, named, more = HEADER.unpack(
        file.read(HEADER.size)
    )
    extra = wide_extra([member.size, member.packed] if packed == WIDE else [])
    sizes = (WIDE, WIDE) if packed == WIDE else (member.packed, member.size)
    same = (mark, its, method == 8, crc) == (b"PK\3\4", flags, member.deflated, member.crc)
    name = member.name.encode("utf-8" if flags & 0x800 else "ascii")
    known = method in (0, 8) and (packed, size) == sizes
    if not (same and known and file.read(named) == name and file.read(more) == extra):
        raise Refused("zip_layout", member.name)
    return int(HEADER.size + named + more)


def wide_extra(sizes: list[int]) -> bytes:
    """The only extra field there may be: sizes that 32 bits do not hold (zip64)."""
    return struct.pack(f"<2H{len(sizes)}Q", 1, 8 * len(sizes), *sizes) if sizes else b""


# --- JSON ------------------------------------------------------------------------------------


def refuse_number(text: str) -> NoReturn:
    raise ValueError(f"number {text[:20]}")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise TwiceError(next(key for key, n in Counter(k for k, _ in pairs).items() if n > 1))
    return keys


class TwiceError(ValueError):
    """A JSON object has a key twice."""


canonical: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":")
).encode
fast_loads: Callable[[str], Any] = json.JSONDecoder(
    parse_float=refuse_number, parse_constant=refuse_number
).decode
careful_loads: Callable[[str], Any] = json.JSONDecoder(
    parse_float=refuse_number, parse_constant=refuse_number, object_pairs_hook=unique_keys
).decode


def parse_line(line: bytes) -> Any:
    """One line of canonical JSON. Raises Refused without a place, which the caller knows."""
    try:
        text = line.decode()
        if len(line) > LONG:
            check_parts(text, "")
        value = fast_loads(text)
        if canonical(value) == text:
            return value
        careful_loads(text)
    except UnicodeDecodeError:
        raise Refused("utf8", "") from None
    except TwiceError as error:
        raise Refused("json_twice", "", str(error)) from None
    except (ValueError, RecursionError) as error:
        raise Refused("json", "", error) from None
    raise Refused("json_canonical", "")


def check_parts(text: str, where: str) -> None:
    """What is small in the file may be large in memory: each part costs up to 200 bytes."""
    if text.count(",") + text.count("[") + text.count("{") > MAX_PARTS:
        raise Refused("json_parts", where)


def read_json(text: str, name: str) -> Any:
    """JSON in any layout, but without duplicate keys and fractions."""
    check_parts(text, name)
    try:
        return careful_loads(text)
    except TwiceError as error:
        raise Refused("json_twice", name, str(error)) from None
    except (ValueError, RecursionError) as error:
        raise Refused("json", name, error) from None


def shaped(value: Any, where: str, **kinds: Any) -> Any:
    """The value, an object of exactly these members; each kind is a type or several."""
    if type(value) is not dict or value.keys() != kinds.keys():
        raise Refused("shape", where, ", ".join(sorted(kinds)))
    for name, kind in kinds.items():
        if type(value[name]) not in (kind if isinstance(kind, tuple) else (kind,)):
            raise Refused("shape", where, name)
        if type(value[name]) is int and not 0 <= value[name] <= MAX_SAFE_INTEGER:
            raise Refused("shape", where, name)
    return value


def hashes(value: Any, where: str) -> list[bytes]:
    """A list of hashes in lower-case hex."""
    if type(value) is not list or len(value) > 64 or not all(map(is_hash, value)):
        raise Refused("shape", where, "hashes")
    return [bytes.fromhex(entry) for entry in value]


def is_hash(value: Any) -> bool:
    return type(value) is str and bool(HASH.fullmatch(value))


HASH = re.compile("[0-9a-f]{64}")
TIME = re.compile(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9]T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"
)


# --- Events ----------------------------------------------------------------------------------

TEXTS = ("id", "kind", "at")
MAYBE = ("loop", "on_behalf_of", "run", "policy", "rule", "template", "body")
EVENT = frozenset(("v", "loop_seq", "actor", "hash", "data", *TEXTS, *MAYBE))
ACTOR = {"type", "id", "via"}


def parse_event(line: bytes) -> dict[str, Any]:
    event: dict[str, Any] = parse_line(line)
    wrong = wrong_event(event)
    if wrong:
        raise Refused("shape", "", wrong)
    return event


def wrong_event(event: Any) -> str | None:
    """The first member that is not as the format has it."""
    if type(event) is not dict or event.keys() != EVENT:
        return "members"
    if type(event["v"]) is not int or event["v"] != 1 or event["hash"] != "sha256":
        return "v, hash"
    for name in TEXTS:
        if type(event[name]) is not str:
            return name
    for name in MAYBE:
        if event[name] is not None and type(event[name]) is not str:
            return name
    if not is_moment(event["at"]):
        return "at"
    if event["body"] is not None and not HASH.fullmatch(event["body"]):
        return "body"
    return wrong_place(event) or wrong_parts(event)


def is_moment(text: str) -> bool:
    try:
        return bool(TIME.fullmatch(text) and datetime.fromisoformat(text[:-1]))
    except ValueError:
        return False


def wrong_place(event: dict[str, Any]) -> str | None:
    position = event["loop_seq"]
    if event["loop"] is None:
        return None if position is None else "loop_seq"
    return None if type(position) is int and position >= 0 else "loop_seq"


def wrong_parts(event: dict[str, Any]) -> str | None:
    actor, data = event["actor"], event["data"]
    if type(actor) is not dict or actor.keys() != ACTOR:
        return "actor"
    if not all(type(part) is str for part in actor.values()):
        return "actor"
    if type(data) is not dict:
        return "data"
    for name, value in data.items():
        kind = type(value)
        if kind is int and abs(value) > MAX_SAFE_INTEGER:
            return "data"
        if not name.isascii() or (kind not in SCALARS and value is not None):
            return "data"
    return None


SCALARS = (str, int, bool)


# --- The proofs ------------------------------------------------------------------------------


class Proof(NamedTuple):
    seq: int
    size: int
    path: list[bytes]


class Proofs:
    """proofs.json, of which only one line is in memory at a time: a loop may be long."""

    def __init__(self, archive: Archive, kind: str, first: int) -> None:
        self.archive = archive
        self.last = None
        """The exported event's, which stands last."""
        for entry in self.entries():
            self.last = entry
        self.rest = check_rest(self.tail, kind, first)
        self.order = self.entries()

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """The lines of single events, with their numbers; `tail` has the rest afterwards."""
        lines, more = enumerate(self.archive.lines(PROOFS), 1), True
        opened = next(lines, (1, b""))[1] == b'{"events":{'
        for number, line in lines if opened else ():
            if line == b"},":
                break
            if not more or len(line) > MAX_PROOF:
                raise Refused("shape", f"{PROOFS} {number}", "events")
            more = line.endswith(b",")
            yield number, line[:-1] if more else line
        self.tail = next(lines, (1, b""))[1]
        if not self.tail or more or next(lines, None):
            raise Refused("shape", PROOFS, "lines")

    def next(self, event: str) -> Proof:
        """The proof that stands next, which must be of this event."""
        return read_proof(event, next(self.order, None))

    def end(self) -> None:
        """Only the exported event's proof may be left."""
        if next(self.order, None) != self.last:
            raise Refused("proof_extra", PROOFS, "events")


def read_proof(event: str, entry: tuple[int, bytes] | None) -> Proof:
    if entry is None:
        raise Refused("proof_missing", PROOFS, event)
    where = f"{PROOFS} {entry[0]}"
    try:
        value = read_json("{" + entry[1].decode() + "}", where)
    except UnicodeDecodeError:
        raise Refused("utf8", where) from None
    if value.keys() != {event}:
        raise Refused("proof_missing", where, event)
    proof = shaped(value[event], where, seq=int, size=int, path=list)
    return Proof(proof["seq"], proof["size"], hashes(proof["path"], where))


def check_rest(tail: bytes, kind: str, first: int) -> dict[str, Any]:
    """What the proofs say of checkpoints and of a range."""
    kinds: dict[str, Any] = {"checkpoints": list}
    if kind == "range":
        kinds.update(first=int, frontier=list, range=dict)
    try:
        value = read_json("{" + tail.decode(), PROOFS)
    except UnicodeDecodeError:
        raise Refused("utf8", PROOFS) from None
    rest = shaped(value, PROOFS, **kinds)
    for entry in rest["checkpoints"]:
        shaped(entry, PROOFS, **{"from": int, "to": int, "consistency": list})
    if kind == "range":
        shaped(rest["range"], PROOFS, size=int, checkpoint=int, consistency=list)
        whole = bin(first).count("1")
        if rest["first"] != first or len(rest["frontier"]) != whole:
            raise Refused("shape", PROOFS, "first, frontier")
    return dict(rest)


# --- The bundle ------------------------------------------------------------------------------


@dataclass
class Bundle:
    """What the small members say, checked for form and for signatures."""

    archive: Archive
    manifest: dict[str, Any]
    proofs: Proofs
    exported: dict[str, Any]
    exported_leaf: bytes
    checkpoints: list[Checkpoint]

    @property
    def is_range(self) -> bool:
        return bool(self.manifest["kind"] == "range")

    @property
    def last(self) -> Checkpoint:
        return self.checkpoints[-1]

    @property
    def end(self) -> int:
        """The position behind a range's last event."""
        return int(self.manifest["first"] + self.manifest["count"])


class Timing:
    """First and last time as written, and the largest steps between neighbours."""

    def __init__(self) -> None:
        self.first = self.last = ""
        self.before: datetime | None = None
        self.back, self.back_seq = MINUTE, -1
        self.pause, self.pause_seq = timedelta(0), -1

    def pass_by(self, at: str, seq: int) -> None:
        moment = datetime.fromisoformat(at[:-1])
        if self.before is None:
            self.first, self.before = at, moment
        step = moment - self.before
        if step > self.pause:
            self.pause, self.pause_seq = step, seq
        elif -step > self.back:
            self.back, self.back_seq = -step, seq
        self.before, self.last = moment, at


@dataclass
class Found:
    """What the events hold, counted while they go by."""

    events: int = 0
    bodies: int = 0
    chosen: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    loops: dict[str, int] = field(default_factory=dict)
    policies: set[str] = field(default_factory=set)
    published: dict[str, str] = field(default_factory=dict)
    renewals: list[tuple[int, str]] = field(default_factory=list)
    restores: list[tuple[int, int]] = field(default_factory=list)
    turns: list[Words] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)
    ids: array[int] = field(default_factory=lambda: array("q"))
    missing: dict[str, int] = field(default_factory=dict)
    erased: int = 0
    erased_elsewhere: set[str] = field(default_factory=set)
    erasures: list[str] = field(default_factory=list)
    first_seq: int = -1
    last_seq: int = -1
    roots: dict[int, bytes] = field(default_factory=dict)
    lost: list[Checkpoint] = field(default_factory=list)
    since: int | None = None
    agreed: list[Checkpoint] = field(default_factory=list)


def open_bundle(path: Path, keys: list[Key], witnesses: list[Key]) -> Bundle:
    archive = Archive(path)
    manifest = check_manifest(read_json(archive.whole(MANIFEST), MANIFEST), keys)
    line = archive.whole(EXPORTED).encode()
    exported = at_line(EXPORTED, 1, lambda: parse_event(line))
    proofs = Proofs(archive, manifest["kind"], manifest["first"])
    checkpoints = read_checkpoints(archive, manifest, keys, witnesses)
    return Bundle(archive, manifest, proofs, exported, leaf_hash(line), checkpoints)


def check_manifest(value: Any, keys: list[Key]) -> dict[str, Any]:
    maybe = (int, type(None))
    manifest = shaped(
        value, MANIFEST, format=str, kind=str, query=dict, first=maybe, count=int,
        loop=(str, type(None)), origin=str, epoch=int, counts=dict, control=dict, bodies=dict,
        software=dict, people=list, exported=dict, members=dict,
    )  # fmt: skip
    if manifest["format"] != FORMAT:
        raise Refused("shape", MANIFEST, "format")
    is_range = manifest["kind"] == "range"
    whose = (manifest["first"] is None, manifest["loop"] is None)
    if manifest["kind"] not in ("range", "loop") or whose != (not is_range, is_range):
        raise Refused("shape", MANIFEST, "kind, first, loop")
    if manifest["count"] < 1:
        raise Refused("shape", MANIFEST, "count")
    for key in keys:
        if key.name != manifest["origin"]:
            raise Refused("note_origin", MANIFEST, manifest["origin"], key.name)
    shaped(manifest["exported"], MANIFEST, event=str, seq=int)
    check_chosen(shaped(manifest["bodies"], MANIFEST, chosen=(str, list))["chosen"])
    return dict(manifest)


def check_chosen(chosen: Any) -> None:
    if type(chosen) is list:
        if not all(type(event) is str for event in chosen) or len(set(chosen)) != len(chosen):
            raise Refused("shape", MANIFEST, "bodies")
    elif chosen not in ("all", "none"):
        raise Refused("shape", MANIFEST, "bodies")


def read_checkpoints(
    archive: Archive, manifest: dict[str, Any], keys: list[Key], witnesses: list[Key]
) -> list[Checkpoint]:
    """All checkpoints, each signed by one of the auditor's keys, growing in size and epoch."""
    name, found, epoch = manifest["origin"], list[Checkpoint](), 1
    for number, note in enumerate(archive.whole(CHECKPOINTS).split("\x1e\n"), 1):
        where = f"{CHECKPOINTS} {number}"
        checkpoint = read_own_note(note, keys, witnesses, where)
        its = epoch_of(checkpoint.origin, name)
        if its is None:
            raise Refused("note_origin", where, checkpoint.origin, name)
        if its < epoch or (found and checkpoint.size <= found[-1].size):
            raise Refused("note_order", where)
        epoch = its
        found.append(checkpoint)
    if keys[0].text not in found[-1].signers:
        raise Refused("note_former", f"{CHECKPOINTS} {len(found)}")
    if epoch != manifest["epoch"]:
        raise Refused("manifest", MANIFEST, "epoch")
    return found


def read_own_note(note: str, keys: list[Key], witnesses: list[Key], where: str) -> Checkpoint:
    checkpoint = read_note(note, [*keys, *witnesses], where)
    if not any(key.text in checkpoint.signers for key in keys):
        raise Refused("note_unsigned", where, keys[0].name)
    return checkpoint


def at_line(name: str, number: int, work: Callable[[], Any]) -> Any:
    """Do the work; a refusal without a place gets this one."""
    try:
        return work()
    except Refused as refused:
        raise placed(refused, name, number) from None


def placed(refused: Refused, name: str, number: int) -> Refused:
    refused.where = refused.where or f"{name} {number}"
    return refused


def check_exported(bundle: Bundle) -> None:
    """The event that this bundle was made: in the history, and of this very bundle."""
    manifest, event = bundle.manifest, bundle.exported
    if event["kind"] != "history.exported" or event["id"] != manifest["exported"]["event"]:
        raise Refused("exported", EXPORTED, "kind, event")
    if manifest["exported"]["seq"] >= bundle.last.size:
        raise Refused("exported_unsealed", CHECKPOINTS)
    proof = read_proof(event["id"], bundle.proofs.last)
    if proven_seq(bundle, event["id"], bundle.exported_leaf, proof) != manifest["exported"]["seq"]:
        raise Refused("exported", EXPORTED, "seq")
    for name in ("kind", "first", "count", "loop"):
        if event["data"].get(name) != manifest[name]:
            raise Refused("exported", EXPORTED, name)


def prove_event(bundle: Bundle, event: str, leaf: bytes) -> int:
    """The event's position by the proof that stands next."""
    return proven_seq(bundle, event, leaf, bundle.proofs.next(event))


def proven_seq(bundle: Bundle, event: str, leaf: bytes, proof: Proof) -> int:
    """The event's position, proven by its path to the last checkpoint."""
    last = bundle.last
    if proof.size != last.size or not included(leaf, proof.seq, last.size, proof.path, last.root):
        raise Refused("inclusion", PROOFS, event, last.size)
    return proof.seq


def check_between(bundle: Bundle) -> None:
    """Each checkpoint continues the one before, by a proof or by the bundle's own events."""
    between = bundle.proofs.rest["checkpoints"]
    given = {(p["from"], p["to"]): p["consistency"] for p in between}
    if len(given) != len(between):
        raise Refused("proof_extra", PROOFS, "checkpoints")
    for at, new in enumerate(bundle.checkpoints[1:]):
        old = bundle.checkpoints[at]
        path = given.pop((old.size, new.size), None)
        if path is None:
            by_events = bundle.is_range and bundle.manifest["first"] <= old.size
            if not (by_events and new.size <= bundle.end):
                raise Refused("consistency_missing", PROOFS, old.size, new.size)
        elif not consistent(old.size, new.size, old.root, new.root, hashes(path, PROOFS)):
            raise Refused("consistency", CHECKPOINTS, old.size, new.size)
    if given:
        raise Refused("proof_extra", PROOFS, "checkpoints")


# --- Going through the events ----------------------------------------------------------------


class Body(NamedTuple):
    number: int
    event: str
    salt: bytes
    text: str


def read_bodies(archive: Archive) -> Iterator[Body]:
    for number, line in enumerate(archive.lines(BODIES), 1):
        value = at_line(BODIES, number, lambda line=line: parse_line(line))  # type: ignore[misc]
        shaped(value, f"{BODIES} {number}", event=str, salt=str, body=str)
        if not is_hash(value["salt"]):
            raise Refused("shape", f"{BODIES} {number}", "salt")
        yield Body(number, value["event"], bytes.fromhex(value["salt"]), value["body"])


class Bodies:
    """The chosen bodies, taken in the order of their events."""

    def __init__(self, bundle: Bundle, found: Found) -> None:
        chosen = bundle.manifest["bodies"]["chosen"]
        self.all, self.found = chosen == "all", found
        self.listed = set(chosen) if type(chosen) is list else set()
        self.stream = read_bodies(bundle.archive)
        self.next = next(self.stream, None)

    def take(self, event: dict[str, Any], seq: int) -> None:
        """Check the body of an event that has one, or remember that it is missing."""
        if not self.all:
            if event["id"] not in self.listed:
                return
            self.listed.discard(event["id"])
        self.found.chosen += 1
        body = self.next
        if body is None or body.event != event["id"]:
            self.found.missing[event["id"]] = seq
            return
        if sha256(body.salt + body.text.encode()).hexdigest() != event["body"]:
            raise Refused("body_commit", f"{BODIES} {body.number}", event["id"])
        self.found.bodies += 1
        self.next = next(self.stream, None)

    def end(self) -> None:
        if self.next is not None:
            raise Refused("body_extra", f"{BODIES} {self.next.number}", self.next.event)
        if self.listed:
            raise Refused("body_unknown", MANIFEST, min(self.listed))


def go_through(bundle: Bundle, held: list[Checkpoint]) -> Found:
    found, count = Found(), bundle.manifest["count"]
    bodies = Bodies(bundle, found)
    place = Range(bundle, held) if bundle.is_range else Story(bundle)
    for number, line in enumerate(bundle.archive.lines(EVENTS), 1):
        try:
            if number > count:
                raise Refused("count", "", count, number)
            event = parse_event(line)
            seq = place.next(event, line)
            count_event(found, event, seq)
            if event["body"] is not None:
                bodies.take(event, seq)
            if event["kind"] in NOTED:
                NOTED[event["kind"]](found, event, seq)
        except Refused as refused:
            raise placed(refused, EVENTS, number) from None
    bodies.end()
    place.end(found)
    return found


class Range:
    """A contiguous stretch: every event in its place, no event left out."""

    def __init__(self, bundle: Bundle, held: list[Checkpoint]) -> None:
        self.bundle = bundle
        self.first: int = bundle.manifest["first"]
        self.size = self.first
        self.frontier = hashes(bundle.proofs.rest["frontier"], PROOFS)
        self.loops: dict[str, int] = {}
        self.own = {c.size: c.root for c in bundle.checkpoints}
        sizes = {c.size for c in [*bundle.checkpoints, *held]}
        inside = [size for size in sizes if self.first <= size <= bundle.end]
        self.sizes, self.roots = sorted(inside, reverse=True), dict[int, bytes]()
        self.compare()

    def next(self, event: dict[str, Any], line: bytes) -> int:
        loop = event["loop"]
        if loop is not None:
            before = self.loops.get(loop, -1 if self.first == 0 else None)
            if before is not None and event["loop_seq"] != before + 1:
                raise Refused("loop_gap", "", loop, before + 1, event["loop_seq"])
            self.loops[loop] = event["loop_seq"]
        push(self.frontier, self.size, sha256(b"\x00" + line).digest())
        self.size += 1
        if self.sizes and self.sizes[-1] == self.size:
            self.compare()
        return int(self.size) - 1

    def compare(self) -> None:
        """The events so far must make up every checkpoint of their size."""
        if not self.sizes or self.sizes[-1] != self.size:
            return
        root = self.roots[self.sizes.pop()] = root_of(self.frontier)
        if self.own.get(self.size, root) != root:
            raise Refused("tree", f"{EVENTS} {self.size - self.first}", self.size)

    def end(self, found: Found) -> None:
        bundle, last, proof = self.bundle, self.bundle.last, self.bundle.proofs.rest["range"]
        if self.size != bundle.end:
            raise Refused("count", EVENTS, bundle.manifest["count"], self.size - self.first)
        path = hashes(proof["consistency"], PROOFS)
        sizes = (proof["size"], proof["checkpoint"])
        root = root_of(self.frontier)
        if sizes != (self.size, last.size) or not consistent(*sizes, root, last.root, path):
            raise Refused("tree", EVENTS, last.size)
        found.loops, found.roots = self.loops, self.roots


class Story:
    """One loop's events, each proven on its own, none left out before the last one here."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.loop = bundle, bundle.manifest["loop"]
        self.before, self.position = -1, -1

    def next(self, event: dict[str, Any], line: bytes) -> int:
        if event["loop"] != self.loop:
            raise Refused("loop_other", "", event["loop"])
        if event["loop_seq"] != self.before + 1:
            raise Refused("loop_gap", "", self.loop, self.before + 1, event["loop_seq"])
        seq = prove_event(self.bundle, event["id"], leaf_hash(line))
        if seq <= self.position:
            raise Refused("seq_order", "")
        self.before, self.position = event["loop_seq"], seq
        return seq

    def end(self, found: Found) -> None:
        count = self.bundle.manifest["count"]
        if self.before + 1 != count:
            raise Refused("count", EVENTS, count, self.before + 1)
        found.loops = {self.loop: self.before}


def count_event(found: Found, event: dict[str, Any], seq: int) -> None:
    found.events += 1
    found.kinds[event["kind"]] += 1
    found.ids.append(hash(event["id"]))
    found.timing.pass_by(event["at"], seq)
    if event["policy"] is not None:
        found.policies.add(event["policy"])
    if found.first_seq < 0:
        found.first_seq = seq
    found.last_seq = seq


def note_publication(found: Found, event: dict[str, Any], _seq: int) -> None:
    number, digest = event["data"].get("publication"), event["data"].get("sha256")
    if type(number) is not int or not is_hash(digest):
        raise Refused("shape", "", "data")
    if str(number) in found.published:
        raise Refused("published_twice", "", number)
    found.published[str(number)] = digest


def note_renewal(found: Found, event: dict[str, Any], seq: int) -> None:
    key = str(event["data"].get("key"))
    found.renewals.append((seq, key))
    found.turns.append(filled(RENEWED, turn(event, seq, key="+".join(key.split("+")[:2]))))


def note_restore(found: Found, event: dict[str, Any], seq: int) -> None:
    """A restore opens an epoch; it may say which checkpoint was known outside before."""
    epoch, size = event["data"].get("epoch"), event["data"].get("size")
    if (
        type(epoch) is not int
        or not 2 <= epoch < MAX_EPOCH
        or (size is not None and type(size) is not int)
    ):
        raise Refused("shape", "", "data")
    found.restores.append((seq, epoch))
    found.turns.append(filled(RESTORED, turn(event, seq, epoch=epoch)))
    if size is not None:
        found.turns.append(filled(KNOWN_BEFORE, turn(event, seq, size=f"{size:,}")))


def note_erasure(found: Found, event: dict[str, Any], seq: int) -> bool:
    """An erasure takes its event off the missing; False when it was not among them."""
    data, who = event["data"], event["actor"]["id"]
    target = data.get("event")
    if type(target) is not str:
        raise Refused("shape", "", "data")
    if not all(map(is_said, (data.get("why"), data.get("authority"), who))):
        raise Refused("erasure_reason", "", target)
    parts = (f"seq {seq}", target, event["at"], who, data["why"], data["authority"])
    found.erasures.append("; ".join(map(plain, parts)))
    if found.missing.pop(target, seq) >= seq:
        found.erased_elsewhere.add(target)
        return False
    found.erased += 1
    return True


def is_said(value: Any) -> bool:
    return type(value) is str and bool(value.strip())


NOTED: dict[str, Callable[[Found, dict[str, Any], int], Any]] = {
    "documents.published": note_publication,
    "history.key_renewed": note_renewal,
    "history.restored": note_restore,
    "body.erased": note_erasure,
}


# --- What must agree afterwards --------------------------------------------------------------


def outside_events(
    bundle: Bundle, found: Found, name: str, note: Callable[[Found, dict[str, Any], int], Any]
) -> None:
    """The events of a member that stand outside of the stretch, each proven and noted."""
    kind, reason = OUTSIDE[name]
    for number, line in enumerate(bundle.archive.lines(name), 1):
        try:
            event = parse_event(line)
            if event["kind"] != kind:
                raise Refused(reason, "", event["id"])
            seq = prove_event(bundle, event["id"], leaf_hash(line))
            inside = bundle.is_range and bundle.manifest["first"] <= seq < bundle.end
            if inside or note(found, event, seq) is False:
                raise Refused(reason, "", event["id"])
            found.ids.append(hash(event["id"]))
        except Refused as refused:
            raise placed(refused, name, number) from None


def check_erasures(bundle: Bundle, found: Found) -> None:
    """After the erasures outside no chosen body may be missing still."""
    outside_events(bundle, found, ERASURES, note_erasure)
    if found.missing:
        target, seq = min(found.missing.items(), key=lambda item: item[1])
        raise Refused("body_missing", f"{EVENTS}, seq {seq}", target)
    if found.erased_elsewhere:
        for body in read_bodies(bundle.archive):
            if body.event in found.erased_elsewhere:
                raise Refused("body_erased", f"{BODIES} {body.number}", body.event)


def check_unique(bundle: Bundle, found: Found) -> None:
    """No event id stands twice: short hashes first, the ids themselves only where these agree."""
    ordered = sorted([*found.ids, hash(bundle.exported["id"])])
    same = {a for at, a in enumerate(ordered[1:]) if ordered[at] == a}
    seen = {bundle.exported["id"]}
    for name in (EVENTS, *OUTSIDE) if same else ():
        for number, line in enumerate(bundle.archive.lines(name), 1):
            event = parse_line(line)["id"]
            if event in seen:
                raise Refused("event_twice", f"{name} {number}", event)
            if hash(event) in same:
                seen.add(event)


def check_exported_after(bundle: Bundle, found: Found) -> None:
    if bundle.manifest["exported"]["seq"] <= found.last_seq:
        raise Refused("exported_place", EXPORTED)
    if bundle.exported["data"].get("bodies") != found.chosen:
        raise Refused("exported", EXPORTED, "bodies")


def check_hashes(bundle: Bundle) -> None:
    """Every member is what the exported event or the manifest has the hash of."""
    archive, data = bundle.archive, bundle.exported["data"]
    for name in (EVENTS, BODIES, *OUTSIDE):
        if data.get(f"sha256:{name}") != archive.digest(name):
            raise Refused("hash", name)
    config = [name for name in archive.members if name.startswith(CONFIG)]
    lines = sorted(f"{archive.digest(name)}  {name}\n" for name in config)
    if data.get("sha256:config") != sha256("".join(lines).encode()).hexdigest():
        raise Refused("hash", CONFIG)
    claimed = bundle.manifest["members"]
    for name in archive.members:
        if name != MANIFEST and claimed.get(name) != archive.digest(name):
            raise Refused("hash_manifest", name)
    if len(claimed) != len(archive.members) - 1:
        raise Refused("manifest", MANIFEST, "members")


def check_documents(bundle: Bundle, found: Found) -> None:
    """All publications that events name or make are here, each as the event of it says."""
    sets: dict[str, list[str]] = {}
    for name in sorted(bundle.archive.members):
        if name.startswith(CONFIG):
            _, publication, file = name.split("/", 2)
            line = f"{bundle.archive.digest(name)}  {file}\n"
            sets.setdefault(publication, []).append(line)
    for publication in sorted((found.policies | found.published.keys()) - sets.keys()):
        raise Refused("documents_missing", CONFIG, publication)
    for publication, lines in sets.items():
        if publication not in found.published:
            raise Refused("documents_unpublished", f"{CONFIG}{publication}", publication)
        if sha256("".join(lines).encode()).hexdigest() != found.published[publication]:
            raise Refused("documents", f"{CONFIG}{publication}", publication)


def check_renewals(bundle: Bundle, found: Found) -> None:
    """From the event on that names a new key, no other key's checkpoint is believed."""
    for checkpoint in bundle.checkpoints:
        due = [renewal for renewal in found.renewals if renewal[0] < checkpoint.size]
        if due and due[-1][1] not in checkpoint.signers:
            raise Refused("renewed", CHECKPOINTS, due[-1][0], checkpoint.size)


def check_totals(bundle: Bundle, found: Found) -> None:
    totals = {
        "events": found.events,
        "loops": len(found.loops),
        "bodies": found.bodies,
        "erased": found.erased,
    }
    for name, value in (("counts", dict(found.kinds)), ("control", totals)):
        if bundle.manifest[name] != value:
            raise Refused("manifest", MANIFEST, name)


def check_restores(bundle: Bundle, found: Found) -> None:
    """A checkpoint's epoch is the one that the last restore before it opened."""
    known = bundle.manifest["first"] if bundle.is_range else bundle.last.size
    epoch = 1 if known == 0 else 0
    """0 where nothing here tells."""
    for checkpoint in bundle.checkpoints:
        opened = [restore[1] for restore in found.restores if restore[0] < checkpoint.size]
        due, its = opened[-1] if opened else epoch, its_epoch(bundle, checkpoint)
        within = checkpoint.size <= found.last_seq + 1
        if its < due or (due and within and its != due):
            raise Refused("restored", CHECKPOINTS, checkpoint.size, its, due)
        if checkpoint.size >= known and not opened:
            epoch = its


def its_epoch(bundle: Bundle, checkpoint: Checkpoint) -> int:
    return epoch_of(checkpoint.origin, bundle.manifest["origin"]) or 1


def check_held(
    bundle: Bundle, held: list[Checkpoint], found: Found, *, restored: bool = False
) -> None:
    """The bundle's history must not contradict the checkpoints that the auditor holds.

    What an earlier epoch says behind a restore may have been lost in it. Somebody who alters a
    history can claim as much, so that is accepted only from an auditor who knows of it and who
    also holds a checkpoint of a later epoch that agrees.
    """
    roots = {0: root_of([]), **found.roots, **{c.size: c.root for c in bundle.checkpoints}}
    agreed = [c for c in held if roots.get(c.size) == c.root]
    latest = max([its_epoch(bundle, c) for c in agreed], default=1)
    for checkpoint in held:
        size, epoch = checkpoint.size, its_epoch(bundle, checkpoint)
        newer = size > bundle.last.size
        if not newer and roots.get(size, checkpoint.root) == checkpoint.root:
            continue
        ends = [seq for seq, opened in found.restores if opened > epoch]
        if ends and size > ends[0] and epoch < latest and restored:
            found.lost.append(checkpoint)
        elif epoch < bundle.manifest["epoch"] and not (ends and size <= ends[0]):
            raise Refused("since_restored", "--since", size, epoch, bundle.manifest["epoch"])
        elif newer:
            raise Refused("since_newer", "--since", bundle.last.size, size)
        else:
            raise Refused("since", "--since", size)
    if held and not agreed:
        raise Refused("since_open", "--since", max(c.size for c in held))
    found.since = max([c.size for c in agreed], default=None)
    found.agreed = agreed


def check_witnesses(bundle: Bundle, witnesses: list[Key], found: Found) -> None:
    """A witness signed a checkpoint in the bundle, or one held that the bundle continues."""
    for witness in witnesses:
        notes = [*bundle.checkpoints, *found.agreed]
        sizes = [c.size for c in notes if witness.text in c.signers]
        if max(sizes, default=-1) <= found.last_seq:
            raise Refused("witness", CHECKPOINTS, witness.name)


def verify(
    path: Path,
    keys: list[Key],
    witnesses: list[Key],
    held: list[Checkpoint],
    *,
    restored: bool = False,
) -> tuple[Bundle, Found]:
    """Everything, from the outside in. Raises Refused at the first thing that is not so."""
    try:
        bundle, found = verified(path, keys, witnesses, held)
        check_held(bundle, held, found, restored=restored)
        check_witnesses(bundle, witnesses, found)
    except (MemoryError, RecursionError):
        raise Refused("memory", path.name) from None
    return bundle, found


def verified(
    path: Path, keys: list[Key], witnesses: list[Key], held: list[Checkpoint]
) -> tuple[Bundle, Found]:
    bundle = open_bundle(path, keys, witnesses)
    check_exported(bundle)
    check_between(bundle)
    found = go_through(bundle, held)
    check_erasures(bundle, found)
    outside_events(bundle, found, PUBLICATIONS, note_publication)
    check_unique(bundle, found)
    bundle.proofs.end()
    check_exported_after(bundle, found)
    check_hashes(bundle)
    check_documents(bundle, found)
    check_renewals(bundle, found)
    check_restores(bundle, found)
    check_totals(bundle, found)
    return bundle, found


# --- Saying it -------------------------------------------------------------------------------

Words = tuple[str, str]

RANGE_PROVEN = (
    "证实：历史中位置 {first} 至 {last} 的 {events} 个事件（{loops} 个循环）全部在此，无一被改动、"
    "删去、增添或换位。",
    "Proven: the {events} events at the positions {first} to {last} of the history ({loops} loops)"
    " are all here; none was changed, left out, added or moved.",
)
LOOP_PROVEN = (
    "证实：循环 {loop} 的这 {events} 个事件都在历史中，位置由 {first} 至 {last} 递增，编号从 0 起"
    "连续，无一被改动。",
    "Proven: these {events} events of the loop {loop} are in the history, unchanged, at growing"
    " positions from {first} to {last}, numbered from 0 without a gap.",
)
LOOP_NOT = (
    "未证实：历史中没有别的事件也属于这个循环、带同样的编号；此后没有别的事件。只有整段导出"
    "（--from --to）能证明这两点。",
    "Not proven: that no other event of the history is this loop's and bears the same numbers, nor"
    " that nothing came later. Only an export of a whole stretch (--from --to) can show either.",
)
TIMES = (
    "时间（写入时的，非证实）：第一个事件 {first_at}，最后一个 {last_at}；相邻事件最长间隔 {pause}"
    "，在位置 {pause_seq} 之前。",
    "Times, as written, not proven: the first event {first_at}, the last {last_at}; the longest"
    " pause between neighbours is {pause}, before the position {pause_seq}.",
)
IN_TIME = (
    "相邻事件之间时间没有倒退一分钟以上。",
    "Nowhere does the time go back by more than a minute from one event to the next.",
)
BACK_IN_TIME = (
    "注意：位置 {back_seq} 的事件比前一个早 {back}，是最大的一次倒退；请追问原因。",
    "Mind: the event at the position {back_seq} is {back} earlier than the one before it, the"
    " largest step back in time; ask why.",
)
RESTORED = (
    "注意：位置 {seq}，{at}，{who}：历史从备份恢复，进入第 {epoch} 纪元。请追问丢了哪一段、为什么，"
    "并用恢复之前留存的检查点核对（--since）。",
    "Mind: position {seq}, {at}, {who}: the history was restored from a backup and entered epoch"
    " {epoch}. Ask what was lost and why, and hold the bundle against checkpoints that you kept"
    " before (--since).",
)
KNOWN_BEFORE = (
    "注意：恢复时外部已知大小为 {size} 的检查点；位置 {seq} 起原有的事件不在这部历史里。",
    "Mind: at that restore a checkpoint of size {size} was known outside; what stood from the"
    " position {seq} on before it is not in this history.",
)
EPOCH = (
    "注意：历史处于第 {epoch} 纪元，即曾从备份恢复；包内有 {restores} 个恢复事件。请用恢复之前留存"
    "的检查点核对（--since）。",
    "Mind: the history is in epoch {epoch}, so it was restored from a backup (restores in the"
    " bundle: {restores}). Hold it against checkpoints that you kept before (--since).",
)
RENEWED = (
    "注意：位置 {seq}，{at}，{who}：更换签名密钥，此后由 {key} 签署；请与书面交接的公钥核对。",
    "Mind: position {seq}, {at}, {who}: the signing key was renewed; from here on {key} signs."
    " Compare it with the key handed over in writing.",
)
RANGE_NOT = (
    "未证实：这一段之前和之后的事件；它们不在包内。",
    "Not proven: events before and after this stretch; they are not in the bundle.",
)
BODIES_PROVEN = (
    "正文：选中 {chosen} 份，{bodies} 份与事件的承诺相符，{erased} 份已依事件删除。",
    "Bodies: {chosen} chosen, {bodies} as the events committed to, {erased} erased by an event.",
)
SIGNED = (
    "依据：{notes} 个检查点，由 {key} 签名；最后一个 {origin}，大小 {size}，根 {root}。",
    "By: {notes} checkpoints signed by {key}; the last is {origin}, size {size}, root {root}.",
)
DOCUMENTS = (
    "文档：{published} 次发布的 {config} 份，与各自的发布事件一致，也与导出事件（位置 {seq}，{at}，"
    "{who}）记录的哈希一致。",
    "Documents: {config} of {published} publications, each as its event of publication says, and as"
    " hashed in the exported event (position {seq}, {at}, {who}).",
)
STATED = (
    "仅为软件陈述、未经证实：清单中的 query、software、people。",
    "Stated by the software, not proven: query, software and people in the manifest.",
)
TRUTH = (
    "任何检查都不能证明：写入的内容当初是真的；最后检查点之后发生了什么；签名时刻（除非有见证人）。",
    "No check can prove that what was written was true, what came after the last checkpoint, or"
    " when it was signed (unless a witness signed too).",
)
SINCE_YES = (
    "与你手中大小为 {since} 的检查点相符。",
    "It continues the checkpoint of size {since} that you hold.",
)
SINCE_MANY = (
    "你的文件里有 {pieces} 段：读了 {notes_held} 个检查点，{compared} 个对上，{apart} 个不在本包"
    "范围内，{lost} 个属于恢复备份前丢失的部分；{unsigned} 段不是所给公钥签署的检查点，已略过。",
    "Your file holds {pieces} pieces: {notes_held} checkpoints were read, {compared} agree, {apart}"
    " are outside of this bundle, {lost} are of what was lost in a restore; {unsigned} pieces are"
    " no checkpoints signed by the keys given and were passed over.",
)
ASKED = (
    "导出时所要的（记在导出事件里）：{asked}。",
    "What was asked for, as the exported event has it: {asked}.",
)
WITNESSED = ("见证人 {witnesses} 也签了名。", "Signed by the witness {witnesses} too.")
ERASED = ("删除", "erased")


def report(bundle: Bundle, found: Found, witnesses: list[Key], held: Held | None) -> Iterator[str]:
    """What is proven and what is not, Chinese first, a sentence a line."""
    known = facts(bundle, found, witnesses, held)
    said = [RANGE_PROVEN if bundle.is_range else LOOP_PROVEN, BODIES_PROVEN, SIGNED, DOCUMENTS]
    said += [ASKED] if known["asked"] else []
    said += [WITNESSED] if witnesses else []
    said += since_words(held) if held else []
    said += [TIMES, IN_TIME if found.timing.back_seq < 0 else BACK_IN_TIME]
    said += [EPOCH] if bundle.manifest["epoch"] > 1 else []
    filled_in = [filled(words, known) for words in said] + found.turns
    last = [RANGE_NOT if bundle.is_range else LOOP_NOT, STATED, TRUTH]
    filled_in += [filled(words, known) for words in last]
    for language, title in enumerate(("已证实", "PROVEN")):
        yield title
        yield from ("  " + words[language] for words in filled_in)
    for erasure in found.erasures:
        yield f"  {' '.join(ERASED)}: {erasure}"


def since_words(held: Held) -> list[Words]:
    return [SINCE_YES, SINCE_MANY] if held.pieces > 1 else [SINCE_YES]


def filled(words: Words, known: dict[str, Any]) -> Words:
    return words[0].format(**known), words[1].format(**known)


def turn(event: dict[str, Any], seq: int, **more: Any) -> dict[str, Any]:
    """What is said of an event at which the history took a turn."""
    who = {"seq": f"{seq:,}", "at": event["at"], "who": plain(event["actor"]["id"])}
    return who | {name: plain(value) for name, value in more.items()}


def facts(bundle: Bundle, found: Found, witnesses: list[Key], held: Held | None) -> dict[str, Any]:
    last, manifest, exported, timing = bundle.last, bundle.manifest, bundle.exported, found.timing
    config = [name for name in bundle.archive.members if name.startswith(CONFIG)]
    numbers = {
        "first": found.first_seq,
        "last": found.last_seq,
        "events": found.events,
        "loops": len(found.loops),
        "chosen": found.chosen,
        "bodies": found.bodies,
        "erased": found.erased,
        "notes": len(bundle.checkpoints),
        "size": last.size,
        "config": len(config),
        "published": len({name.split("/")[1] for name in config}),
        "seq": manifest["exported"]["seq"],
        "epoch": manifest["epoch"],
        "restores": len(found.restores),
        "back_seq": timing.back_seq,
        "pause_seq": max(timing.pause_seq, found.first_seq),
    }
    texts = {
        "loop": plain(manifest["loop"]),
        "key": manifest["origin"],
        "origin": last.origin,
        "root": b64encode(last.root).decode(),
        "at": exported["at"],
        "who": plain(exported["actor"]["id"]),
        "asked": plain(exported["data"].get("asked") or ""),
        "witnesses": ", ".join(witness.name for witness in witnesses),
        "first_at": timing.first,
        "last_at": timing.last,
        "back": duration(timing.back),
        "pause": duration(timing.pause),
    }
    said = texts | {name: f"{number:,}" for name, number in numbers.items()}
    return said | (held_facts(found, held) if held else {})


def held_facts(found: Found, held: Held) -> dict[str, str]:
    numbers = {
        "since": found.since or 0,
        "held": max(c.size for c in held.checkpoints),
        "pieces": held.pieces,
        "notes_held": len(held.checkpoints),
        "compared": len(found.agreed),
        "lost": len(found.lost),
        "apart": len(held.checkpoints) - len(found.agreed) - len(found.lost),
        "unsigned": held.unsigned,
    }
    return {name: f"{number:,}" for name, number in numbers.items()}


def duration(span: timedelta) -> str:
    """Days and h:mm:ss, such as `3d 4:05:06`."""
    rest = str(timedelta(seconds=span.seconds))
    return f"{span.days}d {rest}" if span.days else rest


def plain(value: Any) -> str:
    """Text for a terminal: what a bundle says must not move the cursor."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value))[:200]


def refusal(refused: Refused) -> Iterator[str]:
    yield "拒绝 REFUSED"
    yield f"  {plain(refused.where)}"
    yield f"  {plain(refused.zh)}"
    yield f"  {plain(refused.en)}"


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="核验历史导出包，离线。Verifies a history bundle, offline.",
        epilog="0 已证实 proven · 1 拒绝 refused · 2 用法有误 usage",
    )
    parser.add_argument("bundle", type=Path, help="导出包 the bundle (zip)")
    parser.add_argument(
        "--key", action="append", required=True, metavar="VKEY",
        help="公钥，取自包外；换过密钥则逐个给出，现用的在前 the public key, from outside the"
        " bundle: ORIGIN+KEYID+KEY; where it was renewed every one, the present one first",
    )  # fmt: skip
    parser.add_argument(
        "--witness", action="append", default=[], metavar="VKEY",
        help="也须签名的见证人 a witness that must have signed too",
    )  # fmt: skip
    parser.add_argument(
        "--since", type=Path, metavar="FILE",
        help="你手中的检查点，一个或多个 the checkpoints that you hold, one or many",
    )  # fmt: skip
    parser.add_argument(
        "--restored", action="store_true",
        help="已知悉恢复备份丢失了什么 you know what a restore lost",
    )  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    given = options(arguments)
    try:
        keys = read_keys(given.key)
        witnesses = [read_key(key) for key in given.witness]
        held = read_held(given.since, keys, witnesses) if given.since else None
        given.bundle.open("rb").close()
    except (Refused, OSError, UnicodeDecodeError) as error:
        sys.stderr.write("用法有误 usage: " + plain(error) + "\n")
        return 2
    try:
        kept = held.checkpoints if held else []
        proven = verify(given.bundle, keys, witnesses, kept, restored=given.restored)
        lines = list(report(*proven, witnesses, held))
        code = 0
    except Refused as refused:
        lines, code = list(refusal(refused)), 1
    sys.stdout.write("\n".join(lines) + "\n")
    return code


class Held(NamedTuple):
    """What the auditor kept: checkpoints, of how many pieces, and how many of these are none."""

    checkpoints: list[Checkpoint]
    pieces: int
    unsigned: int


NOTE = re.compile("^[^\n]+\n[0-9]+\n[A-Za-z0-9+/]+=*\n\n(?:\u2014 \\S+ \\S+\n)+", re.MULTILINE)


def read_held(path: Path, keys: list[Key], witnesses: list[Key]) -> Held:
    """The checkpoints in a file as people keep it: saved from a mail, copied from a group, with a
    byte order mark, other line ends, words around it. Of very many as many evenly spaced ones, the
    last among them. Raises Refused when there is none, the first reason."""
    text = path.read_bytes().decode().lstrip("\ufeff").replace("\r\n", "\n").rstrip("\n") + "\n"
    pieces = [found[0] for found in NOTE.finditer(text)] or [text]
    most = min(len(pieces), MAX_HELD)
    chosen = [pieces[(n + 1) * len(pieces) // most - 1] for n in range(most)]
    checkpoints, problems = list[Checkpoint](), list[Refused]()
    for piece in chosen:
        try:
            checkpoints.append(read_own_checkpoint(piece, keys, witnesses))
        except Refused as problem:
            problems.append(problem)
    if not checkpoints:
        raise problems[0]
    return Held(checkpoints, len(pieces), len(problems))


def read_own_checkpoint(piece: str, keys: list[Key], witnesses: list[Key]) -> Checkpoint:
    checkpoint = read_own_note(piece, keys, witnesses, "--since")
    if epoch_of(checkpoint.origin, keys[0].name) is None:
        raise Refused("note_origin", "--since", checkpoint.origin, keys[0].name)
    return checkpoint


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    sys.exit(main())
