"""What a robot is sent, and what each of its answers means."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from notifications.wecom_robot import REACTIONS, Reaction, RobotError, WecomRobot

KEY = "5e1f-secret-key"


def ask(
    answer: Callable[[httpx.Request], httpx.Response], *calls: tuple[str, str, tuple[str, ...]]
) -> list[dict[str, Any]]:
    """The bodies a robot was sent by these calls: (method, text, mentions)."""
    sent: list[dict[str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.params["key"] == KEY
        assert request.url.path == "/base/cgi-bin/webhook/send"
        assert b"\\u" not in request.content
        sent.append(json.loads(request.content))
        return answer(request)

    async def go() -> None:
        robot = WecomRobot("https://wecom.example/base", KEY, httpx.MockTransport(handle))
        try:
            for method, text, mentions in calls:
                await getattr(robot, method)(text, mentions)
        finally:
            await robot.close()

    asyncio.run(go())
    return sent


def errcode(code: int, errmsg: str = "whatever") -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(200, json={"errcode": code, "errmsg": errmsg})


def failure(answer: Callable[[httpx.Request], httpx.Response]) -> RobotError:
    with pytest.raises(RobotError) as caught:
        ask(answer, ("send_markdown", "好", ()))
    return caught.value


def test_what_is_sent() -> None:
    assert ask(
        errcode(0),
        ("send_markdown", "**登录**", ()),
        ("send_markdown", "看", ("zhangsan", "@all")),
        ("send_text", "看", ("li.si",)),
    ) == [
        {"msgtype": "markdown", "markdown": {"content": "**登录**"}},
        {"msgtype": "markdown", "markdown": {"content": "看\n<@zhangsan>\n<@all>"}},
        {"msgtype": "text", "text": {"content": "看", "mentioned_list": ["li.si"]}},
    ]


def test_texts_are_cut_and_mentions_are_not() -> None:
    long, short = ask(
        errcode(0), ("send_markdown", "长" * 5000, ("a" * 64,)), ("send_text", "长" * 5000, ())
    )
    content = long["markdown"]["content"]
    assert 4093 <= len(content.encode()) <= 4096
    assert content.endswith(f"…\n<@{'a' * 64}>")
    assert 2045 <= len(short["text"]["content"].encode()) <= 2048


@pytest.mark.parametrize("user", ["", "a>", "<@all>", "a b", "a\n", "长", "a" * 65])
def test_a_mention_is_a_userid(user: str) -> None:
    with pytest.raises(ValueError, match="userid"):
        ask(errcode(0), ("send_markdown", "好", (user,)))
    with pytest.raises(ValueError, match="userid"):
        ask(errcode(0), ("send_text", "好", (user,)))


# Page 90313; written here a second time on purpose.
EXPECTED = {
    Reaction.RETRY: (-1, 6000, 45035, 45033, 45036, 60020, 99999),
    Reaction.WAIT: (45009,),
    Reaction.REFUSE: (
        *(40008, 40033, 40035, 40058, 40063, 41033, 44004, 45002, 93017, 93018),
        *(40201, 82004, 85002),
    ),
    Reaction.DISABLE: (93000, 93001, 93004, 93008),
}


@pytest.mark.parametrize(
    ("code", "reaction"), [(code, reaction) for reaction in EXPECTED for code in EXPECTED[reaction]]
)
def test_each_errcode_has_its_reaction(code: int, reaction: Reaction) -> None:
    error = failure(errcode(code, "hint: [1], from ip: 1.2.3.4"))
    assert error.reaction is reaction
    assert error.permanent is (reaction in (Reaction.REFUSE, Reaction.DISABLE))
    assert error.retry_after == (timedelta(minutes=1) if reaction is Reaction.WAIT else None)
    assert not error.unknown, "it was told that nothing was sent"
    assert str(code) in error.reason
    assert "1.2.3.4" not in error.reason


def test_the_table_is_complete() -> None:
    assert {code for codes in EXPECTED.values() for code in codes} - {60020, 99999} == set(
        REACTIONS
    )


def test_partly_ignored_json_is_an_error() -> None:
    assert failure(errcode(0, "ok. Warning: wrong json format. ")).permanent


def respond(status: int, text: str = "") -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(status, text=text)


def fail(kind: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        raise kind(f"failed for {request.url}", request=request)

    return answer


@pytest.mark.parametrize(
    ("answer", "unknown", "reason"),
    [
        (respond(500), True, "HTTP 500"),
        (respond(504), True, "HTTP 504"),
        (respond(302), False, "HTTP 302"),
        (respond(403), False, "HTTP 403"),
        (respond(200, "<html>"), True, "cannot be read"),
        (respond(200, "[]"), True, "cannot be read"),
        (respond(200, "null"), True, "cannot be read"),
        (respond(200, "{}"), True, "cannot be read"),
        (respond(200, '{"errcode": null}'), True, "cannot be read"),
        (fail(httpx.ConnectError), False, "cannot connect: ConnectError"),
        (fail(httpx.ConnectTimeout), False, "cannot connect: ConnectTimeout"),
        (fail(httpx.ReadTimeout), True, "no answer: ReadTimeout"),
        (fail(httpx.WriteError), True, "no answer: WriteError"),
        (fail(httpx.RemoteProtocolError), True, "no answer: RemoteProtocolError"),
    ],
)
def test_no_clear_answer_is_tried_again(
    answer: Callable[[httpx.Request], httpx.Response], unknown: bool, reason: str
) -> None:
    error = failure(answer)
    assert reason in error.reason
    assert (error.unknown, error.permanent, error.retry_after) == (unknown, False, None)


def chain(error: BaseException | None) -> list[BaseException]:
    """An exception and everything that hangs on it, also what `from None` only hides."""
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize("kind", [httpx.ReadTimeout, httpx.ConnectError, httpx.WriteError])
def test_no_httpx_exception_hangs_on_an_error(kind: type[httpx.TransportError]) -> None:
    """It has the request, whose address has the key."""
    assert [type(error) for error in chain(failure(fail(kind)))] == [RobotError]
