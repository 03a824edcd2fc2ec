"""建立一个新的机构 / Set up a new installation in this folder."""

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal import AsJson, emit, say
from loopwright.errors import InputError

if TYPE_CHECKING:
    from loopwright.settings import Settings

NAME = "init"

TOML = """\
# Settings of this installation; every value may also come from LOOPWRIGHT_… in the environment.
language = "zh"
documents = ["organisation"]

[database]
# PostgreSQL for several machines: postgresql://user@host:5432/loopwright (password by environment)
url = "sqlite:///.loopwright/loopwright.db"

[identity]
# Keys the hashes of customers' numbers, phones and mails. Back it up; never change it.
secret_path = ".loopwright/identity.key"

[messages]
# file writes what would be sent; smtp mails it; wecom_robot tells WeCom groups.
transport = "file"
folder = ".loopwright/outbox"
"""


def command(
    folder: Annotated[Path, typer.Argument(help="Where; made if it does not exist.")] = Path(),
    template: Annotated[
        bool, typer.Option(help="Also build Prefect's template database (a minute, once).")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """建立一个新的机构 / Write settings and example documents, make the database, publish."""
    write_files(folder)
    os.chdir(folder)
    publication = prepare(template=template)
    emit(
        {"folder": str(Path.cwd()), "publication": publication},
        as_json,
        lambda: say(
            f"✓ {folder}: loopwright.toml, organisation/, database; publication {publication}\n"
            "  Edit organisation/*.yaml, check with `loopwright org lint`, then"
            " `loopwright org publish`.\n"
            "  Drop files into .loopwright/inbox/SOURCE/ and `loopwright run ingest_feedback`."
        ),
    )


def write_files(folder: Path) -> None:
    """Refuses a folder that already holds an installation."""
    for name in ("loopwright.toml", "organisation", "prefect.yaml"):
        if (folder / name).exists():
            raise InputError(f"{folder / name} exists already", "choose an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(example("bank"), folder / "organisation", ignore=shutil.ignore_patterns("data"))
    (folder / "loopwright.toml").write_text(TOML, "utf-8")
    shutil.copy(packaged("prefect.yaml"), folder / "prefect.yaml")


def prepare(*, template: bool) -> int:
    """Secret, schema and first publication of the installation in the working folder."""
    from flows.server import build_template
    from loopwright.settings import load_settings

    settings = load_settings()
    write_secret(settings.identity.secret_path)
    number = publish_folders(settings, list(settings.documents))
    if template:
        build_template(settings)
    return number


def publish_folders(settings: "Settings", folders: list[Path]) -> int:
    """Bring the schema up and publish the documents of some folders; the publication's number."""
    from loopwright.db import Database
    from loopwright.history.envelope import Actor
    from loopwright.migrate import upgrade
    from loopwright.now import utc_now
    from tasks.documents.publish import publish, read_folders

    db = Database(settings.database.url)
    upgrade(db)
    by = Actor("person", "operator", "cli")
    number = publish(db, read_folders(folders), by, utc_now()).number
    db.close()
    return number


def write_secret(path: Path) -> None:
    """A fresh key, readable by its owner only; one that exists is kept."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))


def example(name: str) -> Path:
    """The folder of an example organisation."""
    return packaged(f"examples/{name}")


def packaged(name: str) -> Path:
    """A file or folder of the checkout, or its copy inside an installed package."""
    import loopwright

    package = Path(loopwright.__file__).parent
    for root in (package, package.parent):
        if (root / name).exists():
            return root / name
    raise InputError(f"{name} is not installed", "use a checkout of the project")
