"""The stand-alone verifier's own Ed25519, tree, notes and JSON, held against ours and the RFCs."""

import ast
import json
import random
import sys
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.history import note, proof, tree
from loopwright.history.envelope import canonical
from loopwright.history.note import Checkpoint, NoteError, PublicKey
from tests.unit.test_note import EIGHT, KEY, MALFORMED, OTHER, VECTOR
from tools import verify_history as verifier
from tools.verify_history import Ed25519, Refused

SOURCE = Path(verifier.__file__).read_text("utf-8")
PUBLIC = str(KEY.public)

RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
def test_vectors_of_rfc_8032(public: str, message: str, signature: str) -> None:
    key, text, made = (bytes.fromhex(part) for part in (public, message, signature))
    verify = Ed25519(key).verify
    assert verify(text, made)
    assert not verify(text + b"!", made)
    for at in range(64):
        assert not verify(text, made[:at] + bytes([made[at] ^ 4]) + made[at + 1 :])
    assert not verify(text, made[:-1])
    assert not verify(text, made + b"\0")


def test_a_second_form_of_s_is_refused() -> None:
    public, message, signature = (bytes.fromhex(part) for part in RFC_8032[1])
    s = int.from_bytes(signature[32:], "little")
    key = Ed25519(public)
    for more in range(1, 15):
        second = signature[:32] + (s + more * verifier.L).to_bytes(32, "little")
        assert not key.verify(message, second)


NO_KEYS = {
    "y is p": verifier.P.to_bytes(32, "little"),
    "y is p + 1": (verifier.P + 1).to_bytes(32, "little"),
    "y is p + 3": (verifier.P + 3).to_bytes(32, "little"),
    "x is 0 with a sign": (1 | 1 << 255).to_bytes(32, "little"),
    "all ones": b"\xff" * 32,
    "no point": (2).to_bytes(32, "little"),
    "neutral": (1).to_bytes(32, "little"),
    "order 2": (verifier.P - 1).to_bytes(32, "little"),
    "order 4": bytes(32),
    "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "short": bytes(31),
    "long": bytes(33),
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_what_is_no_key_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no point|small order"):
        Ed25519(NO_KEYS[name])


def test_a_second_form_of_r_is_refused() -> None:
    """R is the neutral point, once as it must be written and once with a needless sign."""
    key = Ed25519(bytes.fromhex(RFC_8032[0][0]))
    assert verifier.encode_point(verifier.NEUTRAL) == NO_KEYS["neutral"]
    for r in (NO_KEYS["y is p + 1"], NO_KEYS["x is 0 with a sign"]):
        assert not key.verify(b"", r + bytes(32))


def test_agrees_with_openssl() -> None:
    chance = random.Random(8032)
    for _ in range(15):
        secret = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        public = secret.public_key().public_bytes_raw()
        ours = Ed25519(public)
        for _ in range(10):
            message = chance.randbytes(chance.randrange(200))
            signature = secret.sign(message)
            assert ours.verify(message, signature)
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
            assert not ours.verify(message + b"x", signature)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=20)
)
keys = st.text(st.characters(max_codepoint=127), max_size=8)
objects = st.dictionaries(keys, scalars | st.dictionaries(keys, scalars, max_size=3), max_size=6)


@given(objects)
def test_canonical_json_is_ours(value: dict[str, object]) -> None:
    text = canonical(value)
    assert verifier.canonical(value) == text
    assert verifier.parse_line(text.encode()) == value


@given(objects.filter(bool), st.sampled_from(["indent", "spaces", "ascii", "order"]))
def test_other_json_is_refused(value: dict[str, object], how: str) -> None:
    forms = {
        "indent": json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False),
        "spaces": json.dumps(value, sort_keys=True, ensure_ascii=False),
        "ascii": json.dumps(value, separators=(",", ":"), sort_keys=True),
        "order": json.dumps(dict(sorted(value.items(), reverse=True)), ensure_ascii=False),
    }
    if forms[how] != canonical(value):
        with pytest.raises(Refused) as caught:
            verifier.parse_line(forms[how].encode())
        assert caught.value.code == "json_canonical"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"a":1,"a":1}', "json_twice"),
        (b'{"a":{"b":1,"b":2}}', "json_twice"),
        (b'{"a":1.0}', "json"),
        (b'{"a":1e3}', "json"),
        (b'{"a":NaN}', "json"),
        (b'{"a":-Infinity}', "json"),
        (b'{"a":01}', "json"),
        (b'{"a":-0}', "json_canonical"),
        (b'{"a":"\\u0041"}', "json_canonical"),
        (b'{"a":"\\ud800"}', "json_canonical"),
        (b'{"a":"\\/"}', "json_canonical"),
        (b'{"a":"\xff"}', "utf8"),
        (b'{"a":"\xed\xa0\x80"}', "utf8"),
        (b'\xef\xbb\xbf{"a":1}', "json"),
        (b'{"a":1} ', "json_canonical"),
        (b'{"a":1}{}', "json"),
        (b"", "json"),
        (b"[" * 100_000, "json"),
        (b"9" * 5_000, "json"),
    ],
)
def test_hostile_json_is_refused(line: bytes, code: str) -> None:
    with pytest.raises(Refused) as caught:
        verifier.parse_line(line)
    assert caught.value.code == code


LEAVES = [tree.leaf_hash(n.to_bytes(4, "big")) for n in range(200)]


@given(st.integers(1, 200), st.data())
@settings(max_examples=200)
def test_the_tree_is_ours(size: int, data: st.DataObject) -> None:
    made = proof.Subtrees(lambda first, last: LEAVES[first:last], 200, 3)
    root, frontier = made.root(0, size), list[bytes]()
    for seq in range(size):
        verifier.push(frontier, seq, LEAVES[seq])
    assert (verifier.root_of(frontier), frontier) == (root, made.frontier(size))
    seq, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    path, between = (
        proof.inclusion_proof(made, seq, size),
        proof.consistency_proof(made, old, size),
    )
    old_root = made.root(0, old)
    assert verifier.included(LEAVES[seq], seq, size, path, root)
    assert verifier.consistent(old, size, old_root, root, between)
    other = data.draw(st.integers(-1, size + 1))
    for wrong in wrong_paths(path, data):
        ours = proof.verify_inclusion(LEAVES[seq], other, size, wrong, root)
        assert verifier.included(LEAVES[seq], other, size, wrong, root) == ours
        assert not ours or (wrong == path and other == seq)
    for wrong in wrong_paths(between, data):
        ours = proof.verify_consistency(old, size, old_root, root, wrong)
        assert verifier.consistent(old, size, old_root, root, wrong) == ours
        assert not ours or wrong == between


def wrong_paths(path: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    entry = data.draw(st.binary(min_size=32, max_size=32))
    return [path, path[1:], path[:-1], [*path, entry], [entry, *path[1:]], path[::-1], []]


def theirs(text: str) -> tuple[str, int, bytes] | None:
    """What the stand-alone verifier reads in a note signed by KEY; None when it refuses."""
    try:
        found = verifier.read_note(text, [auditors_key()], "note")
    except Refused:
        return None
    return found[:3] if PUBLIC in found.signers else None


@cache
def auditors_key() -> verifier.Key:
    return verifier.read_key(PUBLIC)


def ours(text: str) -> tuple[str, int, bytes] | None:
    try:
        found = note.verify(text, KEY.public)
    except NoteError:
        return None
    return found.origin, found.size, found.root


def test_the_vector_of_the_reference() -> None:
    assert theirs(VECTOR) == (EIGHT.origin, EIGHT.size, EIGHT.root)
    assert theirs(VECTOR.replace("\n8\n", "\n9\n")) is None


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_notes_are_refused_by_both(name: str) -> None:
    assert ours(MALFORMED[name][0]) is None
    assert theirs(MALFORMED[name][0]) is None


@given(st.integers(0, len(VECTOR)), st.integers(0, 3), st.text(max_size=3))
@settings(max_examples=300, deadline=None)
def test_notes_are_read_as_ours_are(at: int, cut: int, put: str) -> None:
    changed = VECTOR[:at] + put + VECTOR[at + cut :]
    assert theirs(changed) == ours(changed)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.integers(-2, 2**63 + 2),
    st.binary(min_size=31, max_size=33),
)
@settings(max_examples=200, deadline=None)
def test_signed_checkpoints_are_read_as_ours_are(origin: str, size: int, root: bytes) -> None:
    text = note.sign(Checkpoint(origin, size, root), OTHER, KEY)
    assert theirs(text) == ours(text)


@pytest.mark.parametrize(
    "vkey",
    [
        PUBLIC,
        PUBLIC + "=",
        PUBLIC[:-1],
        PUBLIC.upper(),
        PUBLIC.replace("+", " "),
        PUBLIC.replace("bank", "ba nk"),
        PUBLIC.replace("c9b5b5b0", "c9b5b5b1"),
        "x",
        "",
        "a+b+c",
        "a+00000000+AQ==",
    ],
)
def test_public_keys_are_read_as_ours_are(vkey: str) -> None:
    try:
        expected = PublicKey.parse(vkey)
    except NoteError:
        with pytest.raises(Refused) as caught:
            verifier.read_key(vkey)
        assert caught.value.code == "key"
        return
    key = verifier.read_key(vkey)
    assert (key.name, key.id, key.ed25519.public) == (expected.name, expected.id, expected.key)


@pytest.mark.parametrize(
    ("origin", "epoch"),
    [
        ("bank", 1),
        ("bank/epoch-2", 2),
        ("bank/epoch-10", 10),
        ("bank/epoch-1", None),
        ("bank/epoch-02", None),
        ("bank2", None),
        ("tank", None),
        ("", None),
        ("bank/epoch-2\n", None),
    ],
)
def test_epochs(origin: str, epoch: int | None) -> None:
    assert verifier.epoch_of(origin, "bank") == epoch
    if epoch is not None:
        assert note.split_origin(origin) == ("bank", epoch)


def test_standard_library_only_and_python_3_9() -> None:
    parsed = ast.parse(SOURCE, feature_version=(3, 9))
    nodes = list(ast.walk(parsed))
    names = {a.name.split(".")[0] for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module).split(".")[0] for n in nodes if isinstance(n, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names
    assert not names & {"socket", "urllib", "http", "ssl", "subprocess", "loopwright", "models"}
    newer = {"bit_count", "strict", "slots", "kw_only", "pairwise", "StrEnum"}
    used = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    used |= {n.arg for n in nodes if isinstance(n, ast.keyword) and n.arg}
    assert not used & newer
