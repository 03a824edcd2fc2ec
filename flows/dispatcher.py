"""The resident dispatcher as a child process of `loopwright up`. It imports no Prefect."""

import asyncio
import signal
from uuid import uuid4

from flows.supervise import announce
from loopwright.log import show
from loopwright.now import utc_now
from loopwright.settings import load_settings
from tasks.dispatch import dispatch
from tasks.start import record_before_writing
from tasks.workspace import open_workspace


async def main() -> None:
    settings = load_settings()
    show(settings.log_level)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    ws = open_workspace(settings, f"dispatcher-{uuid4().hex[:12]}")
    record_before_writing(ws, "dispatcher", utc_now)
    try:
        await dispatch(ws, utc_now, stop, announce)
    finally:
        ws.db.close()


if __name__ == "__main__":
    asyncio.run(main())
