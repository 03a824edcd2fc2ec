"""数据库 / The database: upgrade its schema, check it."""

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
