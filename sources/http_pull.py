"""Pulling a source over HTTP: pages since the last cursor, asked for only when something changed.

`fetch` does the I/O and yields each page as a delivery; the caller stores the page's `state`
in the transaction that stores its records, so that a crash asks for the same page again.

Where it may go is decided here (OWASP ASVS 5.0, server-side request forgery): https only, no
redirects, the host resolved once, every address public, and the connection made to that address.
`allow_private: true` in the source document opens http and private networks for the intranet.
"""

import ipaddress
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from policy.source_spec import FetchSpec, SourceSpec
from sources.errors import SourceError
from sources.reading import path_getter
from sources.records import Delivery, open_records

if TYPE_CHECKING:
    import httpx

PAGE_BYTES = 67_108_864
PAGE_SECONDS = 120.0
ATTEMPTS = 4
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
NAT64 = ipaddress.ip_network("64:ff9b::/96")

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

Resolve = Callable[[str, int], list[str]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class PullState:
    """Where the next pull goes on. `etag` and `modified` belong to the page at `cursor`."""

    cursor: str | None = None
    etag: str | None = None
    modified: str | None = None

    def to_json(self) -> str:
        return json.dumps([self.cursor, self.etag, self.modified])

    @classmethod
    def from_json(cls, text: str | None) -> "PullState":
        return cls(*json.loads(text)) if text else cls()


@dataclass(frozen=True)
class Page:
    """One answer as a delivery; store `state` together with its records."""

    delivery: Delivery
    state: PullState


class _Busy(Exception):
    """The other side may answer later."""


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def fetch(
    spec: SourceSpec,
    state: PullState,
    transport: "httpx.BaseTransport | None" = None,
    resolve: Resolve | None = None,
) -> Iterator[Page]:
    """Pages newer than `state`, at most `page_limit`; none when nothing changed (304).

    Raises SourceError when the source cannot be asked: address refused, secret missing, an
    error status, no answer after four attempts, an answer too large or without its cursor.
    """
    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs whole URLs
    form = _http(spec)
    target = _target(form, resolve or _addresses)
    with httpx.Client(
        transport=transport, timeout=httpx.Timeout(30, connect=10), trust_env=False
    ) as client:
        for _ in range(form.page_limit):
            answer = _ask(client, target, form, state)
            if answer.status == 304:
                return
            following, more = _next_state(spec, state, answer)
            yield Page(open_records(spec, BytesIO(answer.body)), following)
            if not more:
                return
            state = following


def _http(spec: SourceSpec) -> FetchSpec:
    if spec.fetch is None or spec.fetch.kind != "http" or not spec.fetch.url:
        raise SourceError(
            f"the source {spec.name} has no HTTP address", "set fetch.kind: http and fetch.url"
        )
    return spec.fetch


@dataclass(frozen=True)
class _Target:
    """The URL with its host replaced by the address that was checked."""

    url: str
    host: str
    name: str


def _target(form: FetchSpec, resolve: Resolve) -> _Target:
    parts = urlsplit(form.url or "")
    schemes = {"http", "https"} if form.allow_private else {"https"}
    if parts.scheme not in schemes or not parts.hostname or parts.username is not None:
        raise SourceError(
            "fetch.url must be https with a host and without a user name",
            "correct fetch.url; for plain http inside your own network set allow_private: true",
        )
    port = _port(parts.port if _port_is_valid(parts) else None, parts.scheme)
    address = _checked(resolve(parts.hostname, port), parts.hostname, form.allow_private)
    shown = f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = name if parts.port is None else f"{name}:{port}"
    return _Target(parts._replace(netloc=f"{shown}:{port}", fragment="").geturl(), host, name)


def _port_is_valid(parts: Any) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        raise SourceError("the port in fetch.url is not a number", "correct fetch.url") from None


def _port(given: int | None, scheme: str) -> int:
    return given or (443 if scheme == "https" else 80)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceError(
            f"the host {host} is not known", "check fetch.url and this machine's name service"
        ) from None
    return [str(entry[4][0]) for entry in found]


def _checked(addresses: list[str], host: str, allow_private: bool) -> Address:
    """The first address, after every one was found allowed: one private among them refuses."""
    parsed = [ipaddress.ip_address(text.split("%")[0]) for text in addresses]
    if not parsed or not all(_allowed(_unwrapped(address), allow_private) for address in parsed):
        raise SourceError(
            f"{host} leads to an address that is not allowed",
            "correct fetch.url; for a host inside your own network set allow_private: true",
        )
    return parsed[0]


def _allowed(address: Address, allow_private: bool) -> bool:
    if address.is_multicast or address.is_unspecified or address.is_link_local:
        return False  # no source lives there, cloud metadata does
    if allow_private:
        return True
    return address.is_global and (address.version == 4 or address in GLOBAL_UNICAST)


def _unwrapped(address: Address) -> Address:
    """The IPv4 address an IPv6 one stands for, since that is where the connection goes."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def _ask(client: "httpx.Client", target: _Target, form: FetchSpec, state: PullState) -> _Answer:
    """Asks again, with growing pauses, while the other side is busy or silent."""
    import httpx
    import stamina

    try:
        for attempt in stamina.retry_context(
            on=(_Busy, httpx.TransportError), attempts=ATTEMPTS, timeout=PAGE_SECONDS
        ):
            with attempt:
                return _answer(client, target, form, state)
    except _Busy as error:
        raise _unreachable(target, str(error)) from None
    except httpx.HTTPError as error:
        raise _unreachable(target, type(error).__name__) from None
    raise AssertionError("stamina ends with an answer or an error")


def _answer(client: "httpx.Client", target: _Target, form: FetchSpec, state: PullState) -> _Answer:
    import httpx

    url = httpx.URL(target.url)
    if form.cursor_parameter and state.cursor:
        url = url.copy_set_param(form.cursor_parameter, state.cursor)
    with client.stream(
        "GET",
        url,
        headers=_headers(target, form, state),
        extensions={"sni_hostname": target.name.strip("[]")},
    ) as response:
        status = response.status_code
        if status in BUSY:
            raise _Busy(f"status {status}")
        if status == 304:
            return _Answer(status, {}, b"")
        if status != 200:
            raise _refused(target, status)
        return _Answer(status, dict(response.headers), _body(response, target))


def _headers(target: _Target, form: FetchSpec, state: PullState) -> dict[str, str]:
    headers = {"Host": target.host, "User-Agent": "loopwright"}
    if state.etag:
        headers["If-None-Match"] = state.etag
    if state.modified:
        headers["If-Modified-Since"] = state.modified
    if form.secret:
        headers[form.secret_header] = _secret(form.secret)
    return headers


def _secret(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise SourceError(
            f"the environment variable {name} is not set", f"set {name} to the source's secret"
        )
    if not value.isprintable() or not value.isascii():
        raise SourceError(f"{name} holds characters no header allows", f"set {name} again")
    return value


def _body(response: "httpx.Response", target: _Target) -> bytes:
    """Unpacked as it comes, so that a small packed answer cannot grow without end."""
    ends = time.monotonic() + PAGE_SECONDS
    body = bytearray()
    for chunk in response.iter_bytes(65_536):
        body += chunk
        if len(body) > PAGE_BYTES:
            raise SourceError(
                f"a page of {target.name} is larger than {PAGE_BYTES:,} bytes",
                "ask for smaller pages in fetch.url",
            )
        if time.monotonic() > ends:
            raise _Busy(f"a page took more than {PAGE_SECONDS:g} s")
    return bytes(body)


def _refused(target: _Target, status: int) -> SourceError:
    if 300 <= status < 400:
        return SourceError(
            f"{target.name} answers with a redirect ({status}), which is not followed",
            "put the final address into fetch.url",
        )
    return SourceError(
        f"{target.name} answers with status {status}",
        "check fetch.url, fetch.secret and the source's own log",
    )


def _unreachable(target: _Target, why: str) -> SourceError:
    return SourceError(
        f"{target.name} did not answer after {ATTEMPTS} attempts ({why})",
        "check the network and the source; the next run goes on from the same cursor",
    )


def _next_state(spec: SourceSpec, state: PullState, answer: _Answer) -> tuple[PullState, bool]:
    """Where to go on, and whether there is more now.

    On the last page the cursor stays and the page's ETag is kept, so that the next pull asks for
    this page again and hears 304 until it has grown; what it repeats is recognised by its keys.
    """
    form = _http(spec)
    here = replace(
        state, etag=answer.headers.get("etag"), modified=answer.headers.get("last-modified")
    )
    if not form.cursor_parameter or not form.cursor_field:
        return here, False
    document = _document(answer.body, spec)
    cursor = path_getter(form.cursor_field)(document)
    if not isinstance(cursor, str | int | None) or isinstance(cursor, bool):
        raise SourceError(f"fetch.cursor_field {form.cursor_field!r} is no text", "correct it")
    if cursor in (None, "") or str(cursor) == state.cursor:
        return here, False
    empty = path_getter(spec.format.items)(document) == [] if spec.format.items else False
    return PullState(str(cursor)), not empty


def _document(body: bytes, spec: SourceSpec) -> dict[str, Any]:
    try:
        document = json.loads(body.decode(spec.format.encoding, "replace"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SourceError(
            "the answer is not a JSON object, so there is no cursor in it",
            "leave fetch.cursor_field out, or correct fetch.url",
        )
    return document
