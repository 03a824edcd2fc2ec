"""A second worker beside the driver: delivers what is due to staff, hour after hour, under its own
leases.

The driver writes the simulated moments to its standard input; at the end of input it delivers what
is left, says on its standard output what it did, and is gone, also when the driver was killed.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import IO

from console.simulation.pace import spare_disk
from loopwright.errors import EnvironmentFault
from loopwright.settings import load_settings
from tasks.sweeps import deliver_messages
from tasks.workspace import open_workspace, spare_collector


class Postman:
    """The driver's end: tell it the time, and read what it did once it is gone."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.done: dict[str, float] = {}

    def tell(self, now: datetime) -> None:
        """Raises EnvironmentFault when the worker has died."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{now.isoformat()}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise EnvironmentFault(
                "the worker that delivers messages has died", "see what it said above"
            ) from None

    def finish(self) -> None:
        out, _ = self.process.communicate()
        if self.process.returncode:
            raise EnvironmentFault(
                f"the worker that delivers messages ended with {self.process.returncode}",
                "see what it said above",
            )
        self.done = json.loads(out)


@contextmanager
def postman() -> Iterator[Postman]:
    """A worker for the length of the block; everything due is delivered at its end."""
    command = [sys.executable, "-m", "console.simulation.postman"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    worker = Postman(process)
    try:
        yield worker
        worker.finish()
    finally:
        process.kill()
        process.wait()


async def deliver(moments: IO[str]) -> dict[str, float]:
    """Deliver at each moment that is read; moments that have piled up find nothing to do."""
    ws, spent, sent = open_workspace(load_settings()), 0.0, 0
    spare_disk(ws.db)
    for hour, line in enumerate(moments):
        started = perf_counter()
        moment = datetime.fromisoformat(line.strip())
        counts = await deliver_messages(ws, partial(same, moment), customers=False)
        sent += counts["sent"]
        spent += perf_counter() - started
        if hour % 50 == 1:
            spare_collector()
    ws.db.close()
    return {"sent": sent, "seconds": round(spent, 1)}


def same(moment: datetime) -> datetime:
    return moment


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(deliver(sys.stdin))))
