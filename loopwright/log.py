"""Logs: one JSON line an event through the standard logger `loopwright`, personal data masked.

Prefect shows that logger's lines beside a flow run. Names are dotted and in the past tense
(`lease.triaged`); values are counts, ids and names of ours, never customers' words.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog

from loopwright.mask import mask


def mask_values(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> Any:
    """The last guard: whatever text reaches a log is masked."""
    return {k: mask(v) if isinstance(v, str) else v for k, v in event.items()}


structlog.configure_once(
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_values,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger("loopwright")


def show(level: str) -> None:
    """Print events from `level` upwards on standard error; called once by the command line."""
    logger = logging.getLogger("loopwright")
    logger.setLevel(level.upper())
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers[:] = [handler]
    logger.propagate = False
