"""Prefect's API server, mended for SQLAlchemy 2.1: otherwise its scheduler never makes a run.

Prefect 3.8 inserts scheduled runs from mappings that also hold `state`, a hybrid property.
SQLAlchemy 2.0 passed over it, 2.1 asks for a `bulk_dml` function and fails the whole insert.
"""

import socket
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import uvicorn
from prefect.server.api import server
from prefect.server.database.orm_models import FlowRun


def pass_over(_model: Any, _mapping: MutableMapping[str, Any], _value: Any) -> None:
    """The state's row is inserted by the statement after it."""


def create_app() -> Any:
    """For `uvicorn --factory`."""
    hybrid: Any = FlowRun.__mapper__.all_orm_descriptors["state"]
    hybrid.bulk_dml_setter = getattr(hybrid, "bulk_dml_setter", None) or pass_over
    return server.create_app()


def main() -> None:
    """Serve on the listener whose file descriptor is the argument, until interrupted."""
    config = uvicorn.Config(
        create_app, factory=True, log_level="error", lifespan="on", timeout_graceful_shutdown=2
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
