"""数据库 / The database: upgrade its schema, check it, who may do what in it."""

import re
from typing import Annotated

import typer

from console.terminal import AsJson, emit, say

NAME = "db"
app = typer.Typer(no_args_is_help=True)


@app.command()
def upgrade(as_json: AsJson = False) -> None:
    """Bring the schema up to this program's; safe to run again."""
    from loopwright.db import Database
    from loopwright.migrate import upgrade as migrate
    from loopwright.settings import load_settings

    revision = migrate(Database(load_settings().database.url))
    emit({"revision": revision}, as_json, lambda: say(f"✓ schema at revision {revision}"))


@app.command()
def check(as_json: AsJson = False) -> None:
    """Exit 3 unless the schema is exactly this program's."""
    from loopwright.db import Database
    from loopwright.migrate import newest, require_current
    from loopwright.settings import load_settings

    require_current(Database(load_settings().database.url))
    emit({"revision": newest()}, as_json, lambda: say(f"✓ schema is current ({newest()})"))


@app.command()
def roles(
    prefix: Annotated[
        str, typer.Option(help="Of the roles' names: a lower-case word.")
    ] = "loopwright",
    own_signer: Annotated[
        bool,
        typer.Option(
            "--own-signer",
            help="A process of its own signs: the application must not add checkpoints.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print SQL that makes PostgreSQL roles: owner, application, eraser, signer, auditor.

    A superuser runs it in the database after each `db upgrade`; it may be run again, and takes
    back what it does not grant. The roles can log in once you give them passwords.
    """
    from dataclasses import asdict

    from loopwright.errors import InputError
    from loopwright.roles import Roles, layout

    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", prefix):
        raise InputError(f"{prefix!r} cannot begin a role's name", "use lower-case letters, a-z")
    made = Roles.named(prefix)
    sql = layout(made, own_signer=own_signer)
    emit({"roles": asdict(made), "sql": sql}, as_json, lambda: say(sql))
