"""Two dispatchers on one PostgreSQL: is everything done once, and by both?"""

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.home import BANK, Home, small_documents, write_settings
from tests.acceptance.sharing import Crowd, assert_nothing_twice, hurry, is_done, shares

pytestmark = pytest.mark.acceptance

ITEMS = 60


@contextmanager
def dispatcher(home: Home) -> Iterator[None]:
    """As `loopwright up` starts it; ready inside the block."""
    mine, its = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.supervise", "flows.dispatcher"],
        cwd=home.folder,
        env=home.environment(),
        stdin=its.fileno(),
    )
    its.close()
    try:
        assert mine.recv(1), "it ended before it was ready"
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        mine.close()


def test_two_dispatchers_share_the_work(tmp_path: Path, new_database: Callable[..., str]) -> None:
    env = {"LOOPWRIGHT_DATABASE__URL": new_database()}
    folders = tmp_path / "one", tmp_path / "two"
    one, two = (Home(folder, env) for folder in folders)
    for folder in folders:
        write_settings(folder)
    documents = small_documents(tmp_path / "bank", (BANK / "sources.yaml").read_text("utf-8"))
    hurry(documents)
    one.do("db", "upgrade")
    one.publish(documents)

    crowd = Crowd(folders, ITEMS // 3, random.Random(1))
    with dispatcher(one), dispatcher(two):
        for _ in range(ITEMS):
            crowd.speak()
            time.sleep(0.01)
        deadline = time.monotonic() + 120
        while not is_done(one, ITEMS):
            assert time.monotonic() < deadline, "it is not done"
            time.sleep(0.3)
    alarms = assert_nothing_twice(one, folders)
    assert alarms.keys() >= {"clock.reminded", "clock.breached", "clock.climbed"}
    assert len(shares(one)) == 2, "both worked"
