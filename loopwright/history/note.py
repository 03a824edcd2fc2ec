"""What does a checkpoint say, and who signed it?

A checkpoint is the origin, size and root of a tree as text (C2SP tlog-checkpoint), signed with
Ed25519 in lines below it (C2SP signed-note). Lines of keys we do not know are passed over, so that
a witness or a later kind of signature can stand beside ours; a known key's line must be good.
"""

import binascii
import os
import re
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from loopwright.errors import FindingError, InputError
from loopwright.history.tree import HASH_BYTES

ED25519 = b"\x01"
KEY_ID_BYTES = 4
SEED_BYTES = 32
SEED_WORD = "LOOPWRIGHT-ED25519-SEED"
SEED_FIX = "`loopwright audit key` makes one; it is one line: " + SEED_WORD + " ORIGIN SEED"
DASH = "\N{EM DASH}"
MAX_SIZE = 2**63 - 1
MAX_SIGNATURES = 100
EPOCH = re.compile(r"(.+)/epoch-([1-9][0-9]*)")


class NoteError(FindingError):
    """A note that must not be believed: badly formed, unsigned, or signed wrongly."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a tree: `size` leaves under `root` (32 bytes), in the history `origin`."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @staticmethod
    def parse(text: str) -> "Checkpoint":
        """Exactly three canonical lines. Raises NoteError for anything else."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:
            raise NoteError("a checkpoint is three lines: origin, size, root")
        size = decimal(lines[1])
        root = exact_base64(lines[2])
        if len(root) != HASH_BYTES:
            raise NoteError(f"the root has {len(root)} bytes, not {HASH_BYTES}")
        return Checkpoint(lines[0], size, root)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who may have signed: a name without spaces or plus, and an Ed25519 key of 32 bytes."""

    name: str
    key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key) != SEED_BYTES:
            raise NoteError(f"an Ed25519 key has {SEED_BYTES} bytes, not {len(self.key)}")

    @property
    def id(self) -> bytes:
        """The four bytes by which a signature line names the key."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.key).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        """The `vkey` of C2SP: NAME+KEYID+BASE64."""
        return f"{self.name}+{self.id.hex()}+{b64encode(ED25519 + self.key).decode()}"

    @staticmethod
    def parse(text: str) -> "PublicKey":
        """The inverse of `str`. Raises NoteError for a broken text or another kind of key."""
        name, _, rest = text.partition("+")
        keyid, _, encoded = rest.partition("+")
        typed = exact_base64(encoded)
        if typed[:1] != ED25519:
            raise NoteError("only Ed25519 keys (type 1) are known here")
        key = PublicKey(name, typed[1:])
        if key.id.hex() != keyid:
            raise NoteError(f"the key of {name} has the id {key.id.hex()}, not {keyid!r}")
        return key

    def made(self, text: str, signature: bytes) -> bool:
        """Is this the key's signature over the text?"""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A name and the secret seed (32 bytes) of its Ed25519 key; never shown by `repr`."""

    name: str
    seed: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.seed) != SEED_BYTES:
            raise NoteError(f"a seed has {SEED_BYTES} bytes, not {len(self.seed)}")

    @staticmethod
    def generate(name: str) -> "SigningKey":
        return SigningKey(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @staticmethod
    def parse(line: str) -> "SigningKey":
        """A key file's line. Raises InputError, which never repeats the line."""
        try:
            word, name, seed = line.removesuffix("\n").split(" ")
            if word != SEED_WORD:
                raise ValueError
            return SigningKey(name, exact_base64(seed))
        except (NoteError, ValueError):
            raise InputError("this is no signing key", SEED_FIX) from None

    @property
    def line(self) -> str:
        """The key file's one line. Secret."""
        return f"{SEED_WORD} {self.name} {b64encode(self.seed).decode()}\n"

    @property
    def public(self) -> PublicKey:
        secret = Ed25519PrivateKey.from_private_bytes(self.seed)
        return PublicKey(self.name, secret.public_key().public_bytes_raw())

    def sign(self, text: str) -> "Signature":
        """The key's signature over the text, its last newline included."""
        made = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return Signature(self.name, self.public.id, made)


@dataclass(frozen=True, slots=True)
class Signature:
    """One line below a note's text; `made` is 64 bytes for Ed25519."""

    name: str
    key: bytes
    made: bytes

    def __str__(self) -> str:
        return f"{DASH} {self.name} {b64encode(self.key + self.made).decode()}\n"

    @staticmethod
    def parse(line: str) -> "Signature":
        """A line without its newline. Raises NoteError when it is none."""
        words = line.split(" ")
        if len(words) != 3 or words[0] != DASH:
            raise NoteError(f"not a signature line: {line!r}")
        check_name(words[1])
        both = exact_base64(words[2])
        if len(both) <= KEY_ID_BYTES:
            raise NoteError(f"the signature of {words[1]} is empty")
        return Signature(words[1], both[:KEY_ID_BYTES], both[KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures below it, verified or not."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(map(str, self.signatures))

    @staticmethod
    def parse(note: str) -> "Note":
        """Take a note apart without believing it. Raises NoteError when it is badly formed."""
        text, gap, below = note.rpartition("\n\n")
        if not gap or not below.endswith("\n"):
            raise NoteError("a note is a text, an empty line and signature lines")
        if any(character < " " and character != "\n" for character in note):
            raise NoteError("a note holds no control characters")
        if below.count("\n") > MAX_SIGNATURES:
            raise NoteError(f"a note has at most {MAX_SIGNATURES} signatures")
        lines = below.removesuffix("\n").split("\n")
        return Note(text + "\n", tuple(map(Signature.parse, lines)))

    def add(self, signature: Signature) -> "Note":
        """The same note with one more line; a line of the same key is replaced."""
        kept = [s for s in self.signatures if (s.name, s.key) != (signature.name, signature.key)]
        return Note(self.text, (*kept, signature))

    def signers(self, known: Iterable[PublicKey]) -> list[PublicKey]:
        """The known keys that signed, in their own order.

        Raises NoteError when a known key's line is bad or stands twice; unknown lines are skipped.
        """
        return [key for key in known if self._signed_by(key)]

    def _signed_by(self, key: PublicKey) -> bool:
        lines = [s for s in self.signatures if (s.name, s.key) == (key.name, key.id)]
        if len(lines) > 1:
            raise NoteError(f"{key.name} signed twice")
        if lines and not key.made(self.text, lines[0].made):
            raise NoteError(f"the signature of {key.name} is wrong")
        return bool(lines)


def sign(checkpoint: Checkpoint, *keys: SigningKey) -> str:
    """The checkpoint as a signed note, one line a key."""
    return str(Note(checkpoint.text, tuple(key.sign(checkpoint.text) for key in keys)))


def verify(note: str, *known: PublicKey) -> Checkpoint:
    """The checkpoint of a note that every one of the known keys signed.

    Raises NoteError when the note is badly formed, or a known key's line is missing or bad.
    """
    parsed = Note.parse(note)
    signers = parsed.signers(known)
    if not known or len(signers) != len(known):
        missing = [key.name for key in known if key not in signers]
        raise NoteError(f"not signed by {', '.join(missing) or 'any known key'}")
    return Checkpoint.parse(parsed.text)


def origin_line(name: str, epoch: int) -> str:
    """The origin of a history's checkpoints: its name, with the epoch from the second on."""
    return name if epoch == 1 else f"{name}/epoch-{epoch}"


def split_origin(origin: str) -> tuple[str, int]:
    """The name and the epoch of an origin line; the inverse of `origin_line`."""
    found = EPOCH.fullmatch(origin)
    if found is None or found[2] == "1":
        return origin, 1
    return found[1], int(found[2])


def read_key(path: Path) -> SigningKey:
    """The signing key in a file. Raises InputError when it is missing, broken or too open."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        line = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the signing key {path} cannot be read: {error}", SEED_FIX) from None
    if mode & 0o027:
        raise InputError(f"the signing key {path} is open to others", f"chmod 600 {path}")
    return SigningKey.parse(line)


def write_key(path: Path, key: SigningKey) -> None:
    """A new file that only its owner can read. Raises InputError when there is one already."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"{path} is already there", "a signing key is never replaced") from None
    with open(file, "w", encoding="utf-8") as out:
        out.write(key.line)


def check_name(name: str) -> None:
    if not name or "+" in name or name != "".join(name.split()) or not name.isprintable():
        raise NoteError(f"{name!r} is no key name: no spaces, no plus, not empty")


def decimal(text: str) -> int:
    """A decimal as it must be written: no sign, no leading zero, at most 2^63 - 1."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text) or int(text) > MAX_SIZE:
        raise NoteError(f"{text!r} is no canonical size")
    return int(text)


def exact_base64(text: str) -> bytes:
    """Standard base64 as it must be written, padding and all. Raises NoteError."""
    try:
        decoded = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{text!r} is no base64") from None
    if b64encode(decoded).decode() != text:
        raise NoteError(f"{text!r} is no canonical base64")
    return decoded
