"""A bundle as a file: members in order, each hashed as it is written, and a name at the end."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from loopwright.errors import InputError


class Bundle:
    """A zip being written member by member; `hashes` keeps each member's SHA-256 in hex."""

    def __init__(self, file: Any) -> None:
        self.zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self.hashes: dict[str, str] = {}

    def __enter__(self) -> "Bundle":
        return self

    def __exit__(self, *_: object) -> None:
        self.zip.close()

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        digest = sha256()
        with self.zip.open(name, "w", force_zip64=True) as member:
            for chunk in chunks:
                digest.update(chunk)
                member.write(chunk)
        self.hashes[name] = digest.hexdigest()


@contextmanager
def new_file(out: Path) -> Iterator[Any]:
    """A file written beside `out`, readable by its owner only, that gets the name at the end."""
    refuse_existing(out)
    file = NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False)  # noqa: SIM115
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        refuse_existing(out)
        os.rename(file.name, out)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise


def refuse_existing(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out} is already there", "name a new file; bundles are never replaced")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}", "make it first")
