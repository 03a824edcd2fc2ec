"""WeCom group robots: notices to a department's group chat, one way, without buttons.

The key in the address is the robot's only credential, so addresses stay out of logs, errors and
their contexts. HTTP 200 is no success: `errcode` decides (pages 99110 and 90313 of
developer.work.weixin.qq.com/document/path). A robot answers without an id; what may have arrived
and is sent again says so and carries the same notice number.

A robot takes 20 messages a minute. One batch counts for itself; across batches and processes WeCom
is the judge, since what it refuses for being too many (45009) was not shown: it goes back to the
outbox for a minute, where it is put together with what came meanwhile.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

import httpx

from loopwright.log import log
from notifications.transport import Outgoing, Receipt, TransportError, WecomSettings
from notifications.wecom_text import (
    MARKDOWN_BYTES,
    TEXT_BYTES,
    USERID,
    bundles,
    cut,
    markdown,
    mention_lines,
    mentions,
    notice_number,
    robot_key,
)

PATH = "/cgi-bin/webhook/send"
PER_MINUTE = 20
MINUTE = 60.0


class Reaction(StrEnum):
    """What to do about an errcode."""

    RETRY = "busy, tried again"
    WAIT = "too many messages, waits"
    REFUSE = "the message is refused"
    DISABLE = "the robot is gone or may not speak"


REACTIONS: Mapping[int, Reaction] = {
    **dict.fromkeys((-1, 6000, 45033, 45035, 45036), Reaction.RETRY),
    45009: Reaction.WAIT,
    **dict.fromkeys((40008, 40033, 40035, 40058, 40063, 41033), Reaction.REFUSE),
    **dict.fromkeys((44004, 45002, 93017, 93018), Reaction.REFUSE),
    **dict.fromkeys((40201, 82004, 85002), Reaction.REFUSE),
    **dict.fromkeys((93000, 93001, 93004, 93008), Reaction.DISABLE),
}
"""errcode -> reaction (page 90313); one that is not listed is tried again, as often as any."""

# Nothing was written to the connection yet, so nothing can have arrived.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class RobotError(TransportError):
    """The robot did not take a message, or nobody can tell."""

    def __init__(
        self,
        reason: str,
        reaction: Reaction = Reaction.RETRY,
        *,
        unknown: bool = False,
        silent: bool = False,
        wait: float = MINUTE,
    ) -> None:
        super().__init__(
            reason,
            permanent=reaction in (Reaction.REFUSE, Reaction.DISABLE),
            unknown=unknown,
            silent=silent,
            retry_after=timedelta(seconds=wait) if reaction is Reaction.WAIT else None,
        )
        self.reaction = reaction


class WecomRobot:
    """One robot of one group. Calls raise RobotError; words people wrote come in neutralised.

    Mentions are userids or `@all`; ValueError for anything else. `transport` is httpx's.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 10.0,
    ) -> None:
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)  # below it they log whole addresses
        self._client = httpx.AsyncClient(
            base_url=base_url,
            params={"key": key},
            transport=transport,
            timeout=timeout,
            trust_env=False,
        )

    async def send_markdown(self, text: str, mentions: Sequence[str] = ()) -> None:
        """At most 4,096 bytes; a longer text is cut, mentions are not."""
        tail = mention_lines(_userids(mentions))
        content = cut(text, MARKDOWN_BYTES - len(tail)) + tail
        await self._post({"msgtype": "markdown", "markdown": {"content": content}})

    async def send_text(self, text: str, mentions: Sequence[str] = ()) -> None:
        """At most 2,048 bytes; a longer text is cut."""
        words = {"content": cut(text, TEXT_BYTES), "mentioned_list": _userids(mentions)}
        await self._post({"msgtype": "text", "text": words})

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, message: dict[str, Any]) -> None:
        try:
            error = judge(await self._client.post(PATH, json=message))
        except httpx.HTTPError as fault:
            error = _unanswered(fault)
        # Out here, where httpx's exception, which knows the address, is no longer its context.
        if error is not None:
            raise error


def _userids(mentions: Sequence[str]) -> list[str]:
    if not all(user == "@all" or USERID.fullmatch(user) for user in mentions):
        raise ValueError("a mention is a userid or @all")
    return list(mentions)


def judge(response: httpx.Response) -> RobotError | None:
    """What a robot's answer means; None: it took the message."""
    if response.status_code != 200:
        return RobotError(f"HTTP {response.status_code}", unknown=response.status_code >= 500)
    try:
        answer = response.json()
        code, words = int(answer["errcode"]), str(answer.get("errmsg"))
    except (ValueError, TypeError, KeyError):
        return RobotError("the answer cannot be read", unknown=True)
    if code == 0 and "wrong json format" in words:
        return RobotError("errcode 0 with a warning: wrong json format", Reaction.REFUSE)
    if code == 0:
        return None
    reaction = REACTIONS.get(code, Reaction.RETRY)
    return RobotError(f"errcode {code}: {reaction}", reaction)


def _unanswered(fault: httpx.HTTPError) -> RobotError:
    kind = type(fault).__name__
    if isinstance(fault, UNSENT):
        return RobotError(f"cannot connect: {kind}", silent=True)
    return RobotError(f"no answer: {kind}", unknown=True, silent=True)


@dataclass
class Line:
    """A robot during one batch: when it was spoken to, and why it no longer is."""

    name: str
    robot: WecomRobot
    clock: Callable[[], float]
    spoken: deque[float] = field(default_factory=deque)
    full_until: float = 0.0
    closed: RobotError | None = None

    async def say(self, text: str, users: Sequence[str]) -> None:
        """Raises RobotError, also where asking the robot would be in vain."""
        self.take_turn()
        try:
            await self.robot.send_markdown(text, users)
        except RobotError as error:
            self.learn(error)
            raise

    def take_turn(self) -> None:
        if self.closed is not None:
            raise self.closed
        now = self.clock()
        while self.spoken and self.spoken[0] <= now - MINUTE:
            self.spoken.popleft()
        free_at = self.full_until
        if len(self.spoken) >= PER_MINUTE:
            free_at = max(free_at, self.spoken[0] + MINUTE)
        if free_at > now:
            raise RobotError("its minute is full", Reaction.WAIT, wait=free_at - now)
        self.spoken.append(now)

    def learn(self, error: RobotError) -> None:
        if error.reaction is Reaction.WAIT:
            self.full_until = self.clock() + MINUTE
        if error.reaction is Reaction.DISABLE:
            self.closed = error
            log.error("robot.disabled", robot=self.name, error=error.reason)


class WecomRobotTransport:
    """`Outgoing.to` is a robot's name. One batch's messages to one robot become few.

    Within a batch a robot that is gone, or has no room, is not asked again.
    """

    kind = "wecom_robot"
    repeats_safely = False

    def __init__(
        self, settings: WecomSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.keys = {robot_key(name): key for name, key in settings.robots.items()}
        self.lines: dict[str, Line] = {}
        self.connections: httpx.AsyncHTTPTransport | None = None

    async def send(self, outgoing: Outgoing) -> Receipt:
        """`reference` is the robot's name and the notice number. Permanent: an unknown robot."""
        return await self._say([outgoing])

    def bundles(self, messages: Sequence[Outgoing]) -> list[list[Outgoing]]:
        """Each robot's messages in their order, as many together as one message can hold."""
        robots: dict[str, list[Outgoing]] = {}
        for message in messages:
            robots.setdefault(message.to, []).append(message)
        language = self.settings.language
        return [bundle for mine in robots.values() for bundle in bundles(mine, language)]

    async def send_bundle(self, bundle: Sequence[Outgoing]) -> list[Receipt | TransportError]:
        """All share one receipt or error; what is refused together is tried one by one, since a
        message that WeCom does not take must not take its neighbours with it."""
        try:
            return [await self._say(bundle)] * len(bundle)
        except RobotError as error:
            if error.reaction is not Reaction.REFUSE or len(bundle) == 1:
                return [error] * len(bundle)
        return [outcome for one in bundle for outcome in await self.send_bundle([one])]

    async def close(self) -> None:
        for line in self.lines.values():
            await line.robot.close()
        self.lines.clear()
        self.connections = None

    async def _say(self, bundle: Sequence[Outgoing]) -> Receipt:
        name = bundle[0].to
        text = markdown(bundle, self.settings.language)
        await self._line(name).say(text, mentions(bundle))
        return Receipt(f"{name}/{notice_number(bundle[0])}")

    def _line(self, name: str) -> Line:
        if name not in self.lines:
            key = self.keys.get(robot_key(name))
            if not key:
                raise RobotError(f"no key is set for robot {name}", Reaction.DISABLE)
            if self.connections is None:
                self.connections = httpx.AsyncHTTPTransport(trust_env=False)
            robot = WecomRobot(self.settings.base_url, key, self.connections, self.settings.timeout)
            self.lines[name] = Line(name, robot, self.clock)
        return self.lines[name]
