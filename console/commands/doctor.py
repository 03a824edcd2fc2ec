"""检查安装 / What is wrong with this setup and how to mend it."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from console.terminal import AsJson, emit, say
from loopwright.errors import EnvironmentFault, LoopwrightError

if TYPE_CHECKING:
    from loopwright.settings import Settings

NAME = "doctor"


def command(as_json: AsJson = False) -> None:
    """检查安装 / Check settings, database, documents, Prefect and messages; exit 3 on a fault."""
    items = [examine(name, check) for name, check in CHECKS.items()]

    def human() -> None:
        for item in items:
            say(f"{'✓' if item['ok'] else '✗'} {item['check']}: {item['found']}")
            if item["fix"]:
                say(f"  → {item['fix']}")

    emit({"items": items}, as_json, human)
    sys.exit(0 if all(item["ok"] for item in items) else 3)


def examine(name: str, check: Callable[["Settings"], str]) -> dict[str, object]:
    from loopwright.settings import load_settings

    try:
        return {"check": name, "ok": True, "found": check(load_settings()), "fix": None}
    except LoopwrightError as error:
        return {"check": name, "ok": False, "found": error.what, "fix": error.fix}
    except Exception as error:  # a check must never hide the ones after it
        found = f"{type(error).__name__}: {error}"
        return {"check": name, "ok": False, "found": found, "fix": "see docs/operate.md"}


def check_settings(settings: "Settings") -> str:
    return f"language {settings.language}, messages by {settings.messages.transport}"


def check_database(settings: "Settings") -> str:
    from loopwright.db import Database, is_durable
    from loopwright.migrate import newest, require_current

    db = Database(settings.database.url)
    require_current(db)
    with db.begin() as tx:
        if not is_durable(tx):
            raise EnvironmentFault(
                "a commit does not survive a power cut", "set synchronous_commit = on"
            )
    return f"{'SQLite' if db.is_sqlite else 'PostgreSQL'}, schema {newest()}"


def check_documents(settings: "Settings") -> str:
    from loopwright.db import Database
    from tasks.publish import published

    found = published(Database(settings.database.url))
    return f"publication {found.number}, {len(found.files)} files, {found.sha256[:12]}"


def check_calendar(settings: "Settings") -> str:
    from loopwright.db import Database
    from loopwright.now import utc_now
    from tasks.publish import published

    year = utc_now().year
    for calendar in published(Database(settings.database.url)).documents.calendars:
        if year not in calendar.published_years:
            raise EnvironmentFault(
                f"calendar {calendar.id} has no published days for {year}",
                f"add calendars/{calendar.id}-{year}.yaml when the list is out and publish it",
            )
    return f"days of {year} are published"


def check_identity(settings: "Settings") -> str:
    from tasks.workspace import identity_secret

    if len(identity_secret(settings)) < 32:
        raise EnvironmentFault("the identity secret is short", "use at least 32 random characters")
    return "the secret for customers' keys is set"


def check_sources(settings: "Settings") -> str:
    from loopwright.db import Database
    from tasks.pull import source_states
    from tasks.workspace import Workspace

    states = source_states(Workspace(settings, Database(settings.database.url)))
    stopped = [str(s["name"]) for s in states if s["stopped_reason"]]
    if stopped:
        raise EnvironmentFault(
            f"stopped: {', '.join(stopped)}",
            "mend the source document, publish it, `loopwright quarantine replay --source NAME`",
        )
    return f"{len(states)} sources, none stopped"


def check_triage(settings: "Settings") -> str:
    from loopwright.db import Database
    from loopwright.now import utc_now
    from tasks.sweeps import stuck_batches, waiting
    from tasks.workspace import Workspace

    ws = Workspace(settings, Database(settings.database.url))
    if stuck := stuck_batches(ws):
        raise EnvironmentFault(
            f"{stuck} batches of feedback were given up after every attempt died",
            "see «Batches that kill their worker» in docs/operate.md",
        )
    return f"{waiting(ws, utc_now())['feedback']:,} feedback wait for triage, nothing is stuck"


def check_prefect(settings: "Settings") -> str:
    from importlib.metadata import version

    from flows.server import template_path

    path = template_path(settings)
    if not path.is_file():
        raise EnvironmentFault(
            "Prefect's template database is missing: the first start takes a minute",
            "run `make setup` or `loopwright init`",
        )
    return f"Prefect {version('prefect')}, FastAPI {version('fastapi')}, template built"


def check_messages(settings: "Settings") -> str:
    import socket

    if settings.messages.transport == "smtp":
        try:
            with socket.create_connection((settings.smtp.host, settings.smtp.port), timeout=5):
                pass
        except OSError as error:
            raise EnvironmentFault(
                f"the mail server does not answer ({error.strerror or error})",
                "check [smtp] host and port; `loopwright notify test --to ADDRESS` sends one",
            ) from None
        return "the mail server answers"
    if settings.messages.transport == "wecom_robot":
        return check_robots(settings)
    settings.messages.folder.mkdir(parents=True, exist_ok=True)
    return f"messages are written to {settings.messages.folder}"


def check_robots(settings: "Settings") -> str:
    """Every unit must lead to a robot whose key is set."""
    from loopwright.db import Database
    from tasks.publish import published

    organisation = published(Database(settings.database.url)).documents.organisation
    without = [
        unit.code
        for unit in organisation.units
        if not any(
            u.contact.wecom in settings.wecom.robots for u in organisation.lineage(unit.code)
        )
    ]
    if without:
        raise EnvironmentFault(
            f"no WeCom robot with a key for: {', '.join(without)}",
            "set contact.wecom in organisation.yaml and LOOPWRIGHT_WECOM__ROBOTS__NAME",
        )
    return f"{len(settings.wecom.robots)} WeCom robots, every unit leads to one"


CHECKS: dict[str, Callable[["Settings"], str]] = {
    "settings": check_settings,
    "database": check_database,
    "documents": check_documents,
    "calendar": check_calendar,
    "identity": check_identity,
    "sources": check_sources,
    "triage": check_triage,
    "prefect": check_prefect,
    "messages": check_messages,
}
