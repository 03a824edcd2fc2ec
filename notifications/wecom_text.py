"""What a WeCom group reads: messages as markdown, harmless and short enough.

WeCom documents no way to escape its markup, so markup in a message's words is written with
full-width characters. Limits are bytes of UTF-8, not characters; a longer markdown message is
refused whole (developer.work.weixin.qq.com/document/path/99110).
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

from notifications.context import CLICKABLE, UNPRINTABLE
from notifications.transport import Outgoing

MARKDOWN_BYTES = 4096
TEXT_BYTES = 2048

# `&`, since nobody says whether clients decode entities; `*`, since two masked phones (138****8000)
# would lose their asterisks to bold type.
MARKUP = str.maketrans("<>[]@*`&", "＜＞［］＠＊｀＆")
USERID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.@-]{0,63}")
HEADING = re.compile(r"^([ \t]*)#", re.M)

WORDS = {
    "zh": {"headline": "{} 条通知", "number": "通知 {}", "again": "（重发）"},
    "en": {"headline": "{} notices", "number": "notice {}", "again": " (sent again)"},
}


def robot_key(name: str) -> str:
    """Names as variables of the environment can write them: `dept-cx` is also `DEPT_CX`."""
    return re.sub(r"[^\w]", "_", name).lower()


def neutralise(words: str) -> str:
    """`words` as WeCom shows them and does nothing else: no mention, link, colour or heading."""
    plain = "\n".join(UNPRINTABLE.sub("", words).splitlines()).translate(MARKUP)
    plain = CLICKABLE.sub(lambda found: "：" if found[1] else "．", plain)
    return HEADING.sub(r"\1＃", plain)


def cut(text: str, limit: int) -> str:
    """`text` in at most `limit` (3 or more) bytes of valid UTF-8, ending in … where it was cut."""
    encoded = text.encode(errors="ignore")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - len("…".encode())].decode(errors="ignore") + "…"


def notice_number(outgoing: Outgoing) -> str:
    """Eight characters, the same at every attempt: by them a reader knows a duplicate."""
    return hashlib.sha256(outgoing.message_id.encode()).hexdigest()[:8].upper()


def mentions(bundle: Iterable[Outgoing]) -> tuple[str, ...]:
    """Whom a group message calls, each once; nobody's name may call everybody."""
    users = (user for message in bundle for user in message.mentions)
    single = (user for user in users if USERID.fullmatch(user) and user.lower() != "all")
    return tuple(dict.fromkeys(single))


def mention_lines(users: Sequence[str]) -> str:
    """What is put behind a markdown text to call people; ASCII."""
    return "".join(f"\n<@{user.removeprefix('@')}>" for user in users)


def bundles(messages: Iterable[Outgoing], language: str) -> list[list[Outgoing]]:
    """The messages in their order, in groups that fit into one markdown message each."""
    groups: list[list[Outgoing]] = []
    for message in messages:
        if groups and _fits([*groups[-1], message], language):
            groups[-1].append(message)
        else:
            groups.append([message])
    return groups


def _fits(bundle: Sequence[Outgoing], language: str) -> bool:
    called = mention_lines(mentions(bundle))
    return len((_listed(bundle, language) + called).encode()) <= MARKDOWN_BYTES


def markdown(bundle: Sequence[Outgoing], language: str) -> str:
    """One message in full, or several as a headline and a line each."""
    if len(bundle) > 1:
        return cut(_listed(bundle, language), MARKDOWN_BYTES)
    (message,) = bundle
    # The number stands before the text, so that a cut leaves it.
    head = f"**{neutralise(message.subject)}**\n{_number(message, language)}"
    return cut(f"{head}\n\n{neutralise(message.text).strip()}", MARKDOWN_BYTES)


def _listed(bundle: Sequence[Outgoing], language: str) -> str:
    headline = WORDS[language]["headline"].format(len(bundle))
    return "\n".join((f"**{headline}**", *(_line(message, language) for message in bundle)))


def _line(message: Outgoing, language: str) -> str:
    subject = message.subject
    if message.number not in subject:
        subject = f"{message.number} {subject}"
    return f">{neutralise(subject)} · {_number(message, language)}"


def _number(message: Outgoing, language: str) -> str:
    words = WORDS[language]
    again = words["again"] if message.again else ""
    return words["number"].format(notice_number(message)) + again
