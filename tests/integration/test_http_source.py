"""Pulling over HTTP against a real server on loopback: cursors, conditions, refusals, retries."""

import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import stamina

from policy.source_spec import FetchSpec, FormatSpec, MapSpec, SourceSpec
from sources import http_pull
from sources.errors import SourceError
from sources.http_pull import PullState, fetch

SECRET = "Bearer s3cret-value"


@dataclass
class Api:
    """What the server answers with, and what it was asked."""

    pages: dict[str, dict[str, object]] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    body: bytes | None = None
    packed: bool = False
    url: str = ""

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((path, headers))
        if self.failures:
            status = self.failures.pop(0)
            return status, {"Location": self.url} if 300 <= status < 400 else {}, b""
        cursor = parse_qs(urlsplit(path).query).get("after", [""])[0]
        body = self.body if self.body is not None else json.dumps(self.pages[cursor]).encode()
        etag = f'"{hash(body)}"'
        if headers.get("if-none-match") == etag:
            return 304, {}, b""
        if self.packed:
            return 200, {"ETag": etag, "Content-Encoding": "gzip"}, gzip.compress(body)
        return 200, {"ETag": etag}, body


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, body = api.answer(self.path, headers)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}/feedback?kind=nps"
    yield api
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=http_pull.ATTEMPTS):
        yield


def source(url: str, **more: object) -> SourceSpec:
    form = FetchSpec(
        "http",
        url=url,
        cursor_parameter="after",
        cursor_field="meta.next",
        allow_private=True,
    )
    return SourceSpec(
        "hub",
        {},
        FormatSpec("json", items="data"),
        MapSpec(id="id", text=("text",)),
        fetch=replace(form, **more),
    )


def page(next_cursor: str | None, *ids: int) -> dict[str, object]:
    return {"data": [{"id": n, "text": "转账"} for n in ids], "meta": {"next": next_cursor}}


def pull(spec: SourceSpec, state: PullState | None = None) -> tuple[list[int], PullState]:
    found: list[int] = []
    state = state or PullState()
    for got in fetch(spec, state):
        with got.delivery as delivery:
            found += [json.loads(record.payload)["id"] for record in delivery]
        state = PullState.from_json(got.state.to_json())
    return found, state


def test_pages_follow_the_cursor_and_the_next_pull_hears_nothing_new(api: Api) -> None:
    api.pages = {"": page("a", 1, 2), "a": page("b", 3), "b": page(None, 4)}
    found, state = pull(source(api.url))
    assert found == [1, 2, 3, 4]
    assert [path for path, _ in api.asked] == [
        "/feedback?kind=nps",
        "/feedback?kind=nps&after=a",
        "/feedback?kind=nps&after=b",
    ]
    assert pull(source(api.url), state) == ([], state)
    api.pages["b"] = page(None, 4, 5)
    assert pull(source(api.url), state)[0] == [4, 5]


def test_a_cursor_that_always_moves_stops_at_an_empty_page(api: Api) -> None:
    api.pages = {"": page("7", 1), "7": page("8"), "8": page("9")}
    found, state = pull(source(api.url))
    assert (found, state.cursor) == ([1], "8")
    assert len(api.asked) == 2


def test_the_page_limit_ends_a_run_and_the_next_goes_on(api: Api) -> None:
    api.pages = {"": page("a", 1), "a": page("b", 2), "b": page(None, 3)}
    found, state = pull(source(api.url, page_limit=2))
    assert (found, state.cursor) == ([1, 2], "b")
    assert pull(source(api.url, page_limit=2), state)[0] == [3]


def test_a_source_without_a_cursor_is_one_page(api: Api) -> None:
    api.body = b'{"data": [{"id": 1, "text": "x"}]}'
    spec = source(api.url, cursor_parameter=None, cursor_field=None)
    found, state = pull(spec)
    assert found == [1]
    assert pull(spec, state) == ([], state)


def test_packed_answers_are_read_and_capped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.packed = True
    api.pages = {"": page(None, 1)}
    assert pull(source(api.url))[0] == [1]
    monkeypatch.setattr(http_pull, "PAGE_BYTES", 100_000)
    api.body = b"x" * 1_000_000
    with pytest.raises(SourceError, match="larger than 100,000"):
        pull(source(api.url))


def test_the_secret_goes_into_the_header_and_nowhere_else(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api.pages = {"": page(None, 1)}
    caplog.set_level(1)
    monkeypatch.setenv("HUB_SECRET", SECRET)
    assert pull(source(api.url, secret="HUB_SECRET"))[0] == [1]
    assert api.asked[0][1]["authorization"] == SECRET
    assert api.asked[0][1]["host"] == urlsplit(api.url).netloc
    api.failures = [503, 403]
    with pytest.raises(SourceError) as caught:
        pull(source(api.url, secret="HUB_SECRET"))
    assert "s3cret" not in caplog.text + str(caught.value)
    assert "kind=nps" not in caplog.text + str(caught.value)


@pytest.mark.parametrize("value", ["", "with\nline", "ключ"])
def test_a_missing_or_broken_secret_is_said_by_name(
    api: Api, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HUB_SECRET", value)
    with pytest.raises(SourceError, match="HUB_SECRET"):
        pull(source(api.url, secret="HUB_SECRET"))
    assert not api.asked


def test_a_busy_server_is_asked_again(api: Api) -> None:
    api.pages = {"": page(None, 1)}
    api.failures = [503, 429]
    assert pull(source(api.url))[0] == [1]
    assert len(api.asked) == 3


@pytest.mark.parametrize(
    ("failures", "says", "asked"),
    [
        ([500] * 9, "did not answer after 4 attempts .status 500", 4),
        ([404], "status 404", 1),
        ([302], "redirect .302., which is not followed", 1),
        ([401], "status 401", 1),
    ],
)
def test_refusals_end_the_pull(api: Api, failures: list[int], says: str, asked: int) -> None:
    api.failures = failures
    with pytest.raises(SourceError, match=says):
        pull(source(api.url))
    assert len(api.asked) == asked


def test_nobody_listening_is_said_after_the_last_attempt() -> None:
    with pytest.raises(SourceError, match=r"did not answer after 4 attempts \(ConnectError\)"):
        pull(source("http://127.0.0.1:9/"))


@pytest.mark.parametrize("body", [b"[1]", b"<html>", b"{", b'{"meta": {"next": [1]}}'])
def test_an_answer_without_a_readable_cursor_is_refused(api: Api, body: bytes) -> None:
    api.body = body
    with pytest.raises(SourceError, match="cursor"):
        pull(source(api.url))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://user:pw@example.com/",
        "https:///path",
        "https://example.com:port/",
    ],
)
def test_addresses_of_the_wrong_form_are_refused(url: str) -> None:
    with pytest.raises(SourceError, match=r"fetch\.url"):
        list(fetch(source(url, allow_private=False), PullState(), resolve=lambda *_: ["8.8.8.8"]))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
def test_private_addresses_are_refused_whatever_the_name_says(address: str) -> None:
    spec = source("https://feedback.example.com/", allow_private=False)
    for found in ([address], ["8.8.8.8", address]):
        with pytest.raises(SourceError, match="not allowed"):
            list(fetch(spec, PullState(), resolve=lambda *_, found=found: found))


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0"])
def test_the_intranet_switch_opens_no_link_local_address(address: str) -> None:
    with pytest.raises(SourceError, match="not allowed"):
        list(fetch(source("http://meta.example.com/"), PullState(), resolve=lambda *_: [address]))


def test_the_connection_goes_to_the_address_that_was_checked(api: Api) -> None:
    api.pages = {"": page(None, 1)}
    port = urlsplit(api.url).port
    spec = source(f"http://hub.example.com:{port}/feedback")
    lookups: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"]

    assert len(list(fetch(spec, PullState(), resolve=resolve))) == 1
    assert lookups == ["hub.example.com"]
    assert api.asked[0][1]["host"] == f"hub.example.com:{port}"
