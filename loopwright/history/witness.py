"""May an outsider countersign this checkpoint, knowing the last one they signed?

A witness is what stops a history from being told in two ways: it never signs a smaller size, nor a
second root at one size, nor growth that is not proven. The proof travels with the note in one text,
in the form of a C2SP tlog-witness request.
"""

from base64 import b64encode
from dataclasses import dataclass

from loopwright.errors import FindingError
from loopwright.history.note import Checkpoint, NoteError, decimal, exact_base64, split_origin
from loopwright.history.proof import verify_consistency

OLD = "old "


@dataclass(frozen=True)
class Proof:
    """A signed note, and the hashes by which the tree of `old` leaves is the beginning of its
    tree; `old` None: the note alone."""

    note: str
    old: int | None = None
    path: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        """`old SIZE`, a base64 hash a line, an empty line, the note."""
        if self.old is None:
            return self.note
        hashes = "".join(b64encode(entry).decode() + "\n" for entry in self.path)
        return f"{OLD}{self.old}\n{hashes}\n{self.note}"

    @staticmethod
    def parse(text: str) -> "Proof":
        """The inverse of `str`. Raises NoteError for a proof that is badly formed."""
        if not text.startswith(OLD):
            return Proof(text)
        proof, gap, note = text.partition("\n\n")
        if not gap:
            raise NoteError("a proof is followed by an empty line and the note")
        size, *hashes = proof.removeprefix(OLD).split("\n")
        return Proof(note, decimal(size), tuple(map(exact_base64, hashes)))


class WitnessRefused(FindingError):
    """What a witness must not sign."""


def check(kept: Checkpoint | None, given: Checkpoint, proof: Proof, *, restored: bool) -> None:
    """Raises WitnessRefused unless `given` may be signed after `kept`; the first may always.

    `restored`: the witness has seen why a new epoch begins, and accepts what a restore lost.
    """
    if kept is None:
        return
    (name, epoch), (kept_name, kept_epoch) = split_origin(given.origin), split_origin(kept.origin)
    if name != kept_name:
        raise WitnessRefused(f"这是另一个历史 / another history: {name}, not {kept_name}")
    if epoch < kept_epoch:
        raise WitnessRefused(f"纪元倒退 / an earlier epoch: {epoch} after {kept_epoch}")
    what = broken_promise(kept, given, proof)
    if what is None or (epoch > kept_epoch and restored):
        return
    fix = f"loopwright audit checkpoint --since {kept.size}" if given.size > kept.size else None
    if epoch > kept_epoch:
        fix = "its history was restored from a backup; ask for the reason, then add --restored"
    raise WitnessRefused(what, fix)


def broken_promise(kept: Checkpoint, given: Checkpoint, proof: Proof) -> str | None:
    """Why `given` does not extend `kept`, or None when it does."""
    if given.size < kept.size:
        return f"历史变短 / the history shrank from {kept.size} to {given.size} events"
    if given.size == kept.size:
        same = given.root == kept.root
        return None if same else f"同一长度两个根 / a second root at size {given.size}"
    if proof.old != kept.size:
        return f"缺少一致性证明 / no proof of consistency from size {kept.size}"
    if not verify_consistency(kept.size, given.size, kept.root, given.root, proof.path):
        return f"历史被改写 / rewritten: size {given.size} does not extend size {kept.size}"
    return None
