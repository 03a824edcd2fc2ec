"""Posts to another system that it can trust: signed as Standard Webhooks says.

The receiver checks `webhook-signature` over id, time and body with the shared secret, refuses what
is old, and takes an id once (standardwebhooks.com, HMAC-SHA256, version `v1`). The id follows from
the body, so that a post repeated after a failure is known for what it is.
"""

import base64
import binascii
import hashlib
import hmac
import logging
from datetime import datetime

from loopwright.errors import EnvironmentFault

PREFIX = "whsec_"
SHORTEST = 24
"""Bytes of a secret, as the standard asks."""
SECONDS = 30.0


class PostFailed(EnvironmentFault):
    """The other system did not take it."""


def key_of(secret: str) -> bytes:
    """The key in a secret as Standard Webhooks writes it. Raises EnvironmentFault for another."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < SHORTEST:
        raise EnvironmentFault(
            "the secret for signed posts is no Standard Webhooks secret",
            f"write {PREFIX} and {SHORTEST} random bytes or more in base64",
        )
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    signed = hmac.new(key, b".".join([message_id.encode(), b"%d" % timestamp, body]), "sha256")
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def headers(key: bytes, body: bytes, now: datetime) -> dict[str, str]:
    message_id, timestamp = f"msg_{hashlib.sha256(body).hexdigest()[:32]}", int(now.timestamp())
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(key, message_id, timestamp, body),
    }


def post(address: str, key: bytes, body: bytes, now: datetime) -> None:
    """Post one JSON body. Raises PostFailed, without the address, which may hold a token."""
    import httpx

    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)  # below it they log whole addresses
    reason = ""
    with httpx.Client(timeout=SECONDS, trust_env=False) as client:
        try:
            answer = client.post(address, content=body, headers=headers(key, body, now))
            if not 200 <= answer.status_code < 300:
                reason = f"HTTP {answer.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = type(error).__name__
    if reason:
        raise PostFailed(
            f"the other system did not take the post: {reason}",
            "look at its log, then run the same command again: it knows what it has by the id",
        )
