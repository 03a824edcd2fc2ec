"""WeCom's group robot on loopback, as its pages describe it.

Each behaviour is marked: D documented, O observed in the field, A assumed (unconfirmed; pages 99110
and 90313 of developer.work.weixin.qq.com/document/path). The clock is the test's own; `faults`
lists what goes wrong with the next requests, one each.
"""

import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PATH = "/cgi-bin/webhook/send"
PER_MINUTE = 20
BYTES = {"text": 2048, "markdown": 4096, "markdown_v2": 4096}
OTHER_TYPES = {"image", "news", "file", "voice", "template_card"}

MENTION = re.compile(r"<@([^<>\s]+)>")
LINK = re.compile(r"\[[^\]]*\]\([^)]*\)")
ADDRESS = re.compile(r"https?://\S+|www\.\S+", re.I)
COLOUR = re.compile(r"<font\b", re.I)


@dataclass(frozen=True)
class Busy:
    """-1 (D)."""

    code: int = -1


@dataclass(frozen=True)
class Slow:
    """Takes the message, then keeps the caller waiting."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Takes the message and hangs up without an answer: an ambiguous failure."""


@dataclass(frozen=True)
class Gateway:
    """Something between us and WeCom answers in its place, with this status and body."""

    status: int
    body: str = "<html>gateway</html>"


Fault = Busy | Slow | Drop | Gateway


@dataclass(frozen=True)
class Shown:
    """A message as its group sees it, and what it would do there."""

    key: str
    kind: str
    content: str
    listed: tuple[str, ...] = ()

    @property
    def mentions(self) -> tuple[str, ...]:
        """Who is called: `<@userid>` in text and markdown (D), and a text's mentioned_list (D)."""
        inline = MENTION.findall(self.content) if self.kind != "markdown_v2" else []
        return (*inline, *self.listed)

    @property
    def active(self) -> list[str]:
        """Links, addresses and colours that take effect; that bare addresses do is A."""
        found = [m for p in (LINK, ADDRESS, COLOUR) for m in p.findall(self.content)]
        return [str(match) for match in found]


@dataclass
class WecomDouble:
    """`robots`: keys that exist; `forbidden`: keys whose group stopped the robot, with the code."""

    robots: set[str]
    clock: Callable[[], float]
    forbidden: dict[str, int] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    shown: list[Shown] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    taken: dict[str, deque[float]] = field(default_factory=dict)
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def contents(self, key: str) -> list[str]:
        return [message.content for message in self.shown if message.key == key]

    def use_up(self, key: str) -> None:
        """Somebody else speaks with this robot until its minute is full."""
        self.taken[key] = deque([self.clock()] * PER_MINUTE)

    def answer(self, path: str, raw: bytes, busy: int = 0) -> dict[str, Any]:
        """Always a JSON object with an errcode, whatever came (D)."""
        with self.lock:
            key = parse_qs(urlsplit(path).query).get("key", [""])[0]
            code, said = (busy, "system busy") if busy else self.judge(key, raw)
            self.answers.append(code)
        if code == 0:
            return {"errcode": 0, "errmsg": "ok"}  # and no msgid (D)
        # The hint, the caller's address and the page behind every message are O.
        more = f"https://open.work.weixin.qq.com/devtool/query?e={code}"
        hint = f"hint: [1653710540075724015410106], from ip: 127.0.0.1, more info at {more}"
        return {"errcode": code, "errmsg": f"{said}, {hint}"}

    def judge(self, key: str, raw: bytes) -> tuple[int, str]:
        if key not in self.robots:
            return 93000, "invalid webhook url"
        if key in self.forbidden:
            return self.forbidden[key], "robot may not speak in this group"
        code, said, message = self.read(key, raw)
        if message is None:
            return code, said
        return self.take(message)

    def read(self, key: str, raw: bytes) -> tuple[int, str, Shown | None]:
        try:
            body = json.loads(raw.decode())  # strictly UTF-8 (D)
            kind = body["msgtype"]
        except (ValueError, KeyError, TypeError):
            return 40008, "invalid message type", None  # A for what is no JSON at all
        if b"\\u" in raw:
            return 40033, "invalid charset", None
        assert kind not in OTHER_TYPES, f"the double does not know {kind}; teach it from the page"
        if kind not in BYTES:
            return 40008, "invalid message type", None
        words = body.get(kind) or {}
        content = words.get("content", "")
        if not content.strip():  # that blanks are empty is A
            return 44004, "empty content", None
        if len(content.encode()) > BYTES[kind]:  # D for markdown, A for text
            return 40058, f"{kind}.content exceed max length {BYTES[kind]}", None
        listed = tuple(words.get("mentioned_list", ())) if kind == "text" else ()
        return 0, "ok", Shown(key, kind, content, listed)

    def take(self, message: Shown) -> tuple[int, str]:
        """20 a minute and robot (D), counted over the last 60 s of what was taken (A)."""
        now = self.clock()
        taken = self.taken.setdefault(message.key, deque())
        while taken and taken[0] <= now - 60:
            taken.popleft()
        if len(taken) >= PER_MINUTE:
            return 45009, "api freq out of limit"
        taken.append(now)
        self.shown.append(message)
        return 0, "ok"


def handler_of(double: WecomDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            double.connections += 1
            super().setup()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            fault = double.faults.popleft() if double.faults else None
            if isinstance(fault, Gateway):
                self.reply(fault.status, fault.body.encode())
                return
            if urlsplit(self.path).path != PATH:
                self.reply(404, b"")
                return
            answer = double.answer(self.path, raw, busy=isinstance(fault, Busy) and fault.code)
            if isinstance(fault, Drop):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if isinstance(fault, Slow):
                time.sleep(fault.seconds)
            self.reply(200, json.dumps(answer).encode())

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class QuietServer(ThreadingHTTPServer):
    """Callers that gave up waiting are no news."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def wecom(*robots: str, clock: Callable[[], float]) -> Iterator[WecomDouble]:
    """A running double that knows these keys."""
    double = WecomDouble(set(robots), clock)
    server = QuietServer(("127.0.0.1", 0), handler_of(double))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
