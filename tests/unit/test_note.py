"""Checkpoints as signed notes: the reference's vector, round trips, and every malformed one."""

import stat
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright.errors import InputError
from loopwright.history import note
from loopwright.history.note import Checkpoint, Note, NoteError, PublicKey, Signature, SigningKey

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
KEY = SigningKey("bank.example/loop", SEED)
OTHER = SigningKey("auditor.example/witness", bytes(range(32)))
VECTOR = (
    "bank.example/loop\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n"
    "— bank.example/loop "
    "ybW1sFIdliYRPs5u7cjBdyI6YmNJRI2xiawjxY0ziMHrQ2qqdIrwJ9Cn8EYSAyOWGyu/"
    "yDTeWTNhlQw0pdoExqZrIgo=\n"
)
TEXT, LINE = VECTOR.split("\n\n")
ROOT = bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
EIGHT = Checkpoint("bank.example/loop", 8, ROOT)

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).filter(
    lambda name: "+" not in name
)
hashes = st.binary(min_size=32, max_size=32)


def test_vector_of_the_reference() -> None:
    assert KEY.public == PublicKey("bank.example/loop", PUBLIC)
    assert KEY.public.id.hex() == "c9b5b5b0"
    assert note.verify(VECTOR, KEY.public) == EIGHT
    assert note.sign(EIGHT, KEY) == VECTOR


def test_another_size_fails() -> None:
    with pytest.raises(NoteError, match=r"signature of bank\.example/loop is wrong"):
        note.verify(VECTOR.replace("\n8\n", "\n9\n"), KEY.public)


@given(names, st.integers(0, note.MAX_SIZE), hashes, hashes, hashes)
def test_round_trip(name: str, size: int, root: bytes, seed: bytes, second: bytes) -> None:
    ours, witness = SigningKey(name, seed), SigningKey("w", second)
    checkpoint = Checkpoint(name, size, root)
    signed = note.sign(checkpoint, ours, witness)
    assert note.verify(signed, ours.public, witness.public) == checkpoint
    assert str(Note.parse(signed)) == signed
    assert PublicKey.parse(str(ours.public)) == ours.public
    assert SigningKey.parse(ours.line) == ours


def test_every_changed_character_is_refused() -> None:
    for at, character in enumerate(VECTOR):
        changed = VECTOR[:at] + chr(ord(character) ^ 1) + VECTOR[at + 1 :]
        with pytest.raises(NoteError):
            note.verify(changed, KEY.public)


def test_a_second_line_is_added_later() -> None:
    parsed = Note.parse(VECTOR)
    signed = parsed.add(OTHER.sign(parsed.text))
    assert str(signed).startswith(VECTOR)
    assert signed.signers([OTHER.public, KEY.public]) == [OTHER.public, KEY.public]
    assert signed.add(OTHER.sign(parsed.text)) == signed
    assert note.verify(str(signed), KEY.public) == EIGHT


def test_unknown_lines_are_skipped() -> None:
    same_name = SigningKey(KEY.name, bytes(32))
    unknown = [
        OTHER.sign("something else\n"),
        same_name.sign("something else\n"),
        Signature("sm2.example", b"\x09abc", b"another kind of signature"),
    ]
    signed = TEXT + "\n\n" + "".join(map(str, unknown[:2])) + LINE + str(unknown[2])
    assert note.verify(signed, KEY.public) == EIGHT


def lines(*signatures: object) -> str:
    return TEXT + "\n\n" + "".join(map(str, signatures))


WRONG = Signature(KEY.name, KEY.public.id, bytes(64))
SHORT = Signature(KEY.name, KEY.public.id, bytes(63))
GOOD = KEY.sign(TEXT + "\n")

MALFORMED = {
    "missing": (lines(OTHER.sign(TEXT + "\n")), "not signed by bank.example/loop"),
    "wrong": (lines(WRONG), "signature of bank.example/loop is wrong"),
    "short": (lines(SHORT), "signature of bank.example/loop is wrong"),
    "good and wrong": (lines(GOOD, WRONG), "signed twice"),
    "twice": (lines(GOOD, GOOD), "signed twice"),
    "no signature": (TEXT + "\n\n", "empty line and signature lines"),
    "no gap": (TEXT + "\n" + LINE, "empty line and signature lines"),
    "no last newline": (VECTOR.removesuffix("\n"), "empty line and signature lines"),
    "text behind": (VECTOR + "more\n", "not a signature line"),
    "carriage return": (VECTOR.replace("\n", "\r\n"), "empty line and signature lines"),
    "control character": (VECTOR.replace("8\n", "8\x00\n"), "no control characters"),
    "tab": (VECTOR.replace("8\n", "8\t\n"), "no control characters"),
    "hyphen": (lines(LINE.replace("—", "-")), "not a signature line"),
    "two spaces": (lines(LINE.replace("— ", "—  ")), "not a signature line"),
    "space at the end": (lines(LINE.replace("=\n", "= \n")), "not a signature line"),
    "plus in the name": (lines(GOOD, f"— a+b {LINE.split()[2]}\n"), "no key name"),
    "empty signature": (lines(GOOD, "— w AAAAAA==\n"), "empty"),
    "no base64": (lines(GOOD, "— w AAA$AAAAA\n"), "no base64"),
    "base64 unpadded": (lines(GOOD, "— w AAAAAAA\n"), "no base64"),
    "base64 loose bits": (lines(GOOD, "— w AAAAAAB=\n"), "no canonical base64"),
    "too many": (lines(*[OTHER.sign(TEXT)] * 101), "at most 100"),
    "empty": ("", "empty line and signature lines"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_notes_are_refused(name: str) -> None:
    text, reason = MALFORMED[name]
    with pytest.raises(NoteError, match=reason):
        note.verify(text, KEY.public)


def test_without_a_known_key_nothing_is_believed() -> None:
    with pytest.raises(NoteError, match="any known key"):
        note.verify(VECTOR)


B64 = b64encode(ROOT).decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"o\n8\n{B64}\nextension\n", "three lines"),
        (f"o\n8\n{B64}\n\n", "three lines"),
        (f"o\n8\n{B64}", "three lines"),
        (f"\n8\n{B64}\n", "three lines"),
        (f"o\n08\n{B64}\n", "canonical size"),
        (f"o\n+8\n{B64}\n", "canonical size"),
        (f"o\n-8\n{B64}\n", "canonical size"),
        (f"o\n 8\n{B64}\n", "canonical size"),
        (f"o\n٨\n{B64}\n", "canonical size"),
        (f"o\n8_0\n{B64}\n", "canonical size"),
        (f"o\n9223372036854775808\n{B64}\n", "canonical size"),
        (f"o\n\n{B64}\n", "canonical size"),
        ("o\n8\nAAAA\n", "3 bytes"),
        (f"o\n8\n{B64.rstrip('=')}\n", "no base64"),
        (f"o\n8\n{B64[:-2]}h=\n", "canonical base64"),
        (f"o\n8\n{B64} \n", "no base64"),
        (f"o\n8\n{B64.replace('/', '_')}\n", "no base64"),
    ],
)
def test_malformed_checkpoints_are_refused(text: str, reason: str) -> None:
    assert Checkpoint.parse(f"o\n8\n{B64}\n") == Checkpoint("o", 8, ROOT)
    with pytest.raises(NoteError, match=reason):
        Checkpoint.parse(text)
    with pytest.raises(NoteError):
        note.verify(str(Note(text, (KEY.sign(text),))), KEY.public)


def test_a_signed_extension_is_refused_all_the_same() -> None:
    text = EIGHT.text + "extension\n"
    with pytest.raises(NoteError, match="three lines"):
        note.verify(str(Note(text, (KEY.sign(text),))), KEY.public)


VKEY = str(KEY.public)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (VKEY.replace("c9b5b5b0", "c9b5b5b1"), "has the id c9b5b5b0"),
        (VKEY.replace("c9b5b5b0", "C9B5B5B0"), "has the id c9b5b5b0"),
        (VKEY.replace("bank", "tank"), "has the id"),
        (VKEY + "=", "base64"),
        (VKEY[:-4], "not 29"),
        (f"x+00000000+{b64encode(bytes([2]) + PUBLIC).decode()}", "only Ed25519"),
        ("x", "only Ed25519"),
        ("", "only Ed25519"),
        (f"a b+c9b5b5b0+{b64encode(bytes([1]) + PUBLIC).decode()}", "no key name"),
    ],
)
def test_malformed_public_keys_are_refused(text: str, reason: str) -> None:
    with pytest.raises(NoteError, match=reason):
        PublicKey.parse(text)


def test_key_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "key"
    note.write_key(path, KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == (
        "LOOPWRIGHT-ED25519-SEED bank.example/loop nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n"
    )
    assert note.read_key(path) == KEY
    with pytest.raises(InputError, match="already there"):
        note.write_key(path, OTHER)
    assert note.read_key(path) == KEY


def test_an_open_or_missing_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(InputError, match="cannot be read"):
        note.read_key(path)
    note.write_key(path, KEY)
    path.chmod(0o644)
    with pytest.raises(InputError, match="open to others"):
        note.read_key(path)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "SEED",
        KEY.line + KEY.line,
        KEY.line.replace("SEED", "SEAL"),
        KEY.line.replace("A=", "B="),
        KEY.line.replace(" nW", " "),
        KEY.line.replace("nWGx", ""),
    ],
)
def test_a_broken_seed_is_refused_without_showing_it(line: str) -> None:
    with pytest.raises(InputError, match="no signing key") as caught:
        SigningKey.parse(line)
    assert "xERJxWl7" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_secrets_are_not_shown() -> None:
    assert "61b1" not in repr(KEY)
    assert "nWGx" not in repr(KEY)
    assert SigningKey.generate("x") != SigningKey.generate("x")


@pytest.mark.parametrize(
    ("origin", "name", "epoch"),
    [("bank", "bank", 1), ("bank/epoch-2", "bank", 2), ("a/b/epoch-10", "a/b", 10)],
)
def test_origin_and_epoch(origin: str, name: str, epoch: int) -> None:
    assert note.split_origin(origin) == (name, epoch)
    assert note.origin_line(name, epoch) == origin


@pytest.mark.parametrize("origin", ["bank/epoch-1", "bank/epoch-02", "bank/epoch-", "/epoch-2"])
def test_what_is_no_epoch_is_a_name(origin: str) -> None:
    assert note.split_origin(origin) == (origin, 1)
