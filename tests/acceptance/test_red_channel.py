"""A call that is written down while it runs: the alert is sent before it ends, then judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import Home

pytestmark = pytest.mark.acceptance

CALL = (
    ("agent", "您好，很高兴为您服务"),
    ("customer", "我的钱被骗光了，打13800138000"),
    ("customer", "我不想活了"),
)


def say(home: Home, n: int, speaker: str, text: str, **more: Any) -> None:
    folder = home.folder / ".loopwright/inbox/hotline_live"
    folder.mkdir(parents=True, exist_ok=True)
    segment = {"call_id": "H1", "seq": n, "speaker": speaker, "text": text} | more
    with (folder / "calls.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(segment, ensure_ascii=False) + "\n")


def run(home: Home, *flows: str) -> None:
    for flow in flows:
        home.do("run", flow, "--no-prefect")


def listed(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(home.do("red", "list", "--json"))
    return found


def test_a_running_call_reaches_a_named_person_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "bank", {})
    home.folder.mkdir()
    home.do("init")
    for n, (speaker, text) in enumerate(CALL, 1):
        say(home, n, speaker, text)
        run(home, "ingest_feedback")
        assert len(listed(home)["items"]) == (0 if n == 1 else 1), text
    run(home, "deliver_messages")
    (alert,) = listed(home)["items"]
    assert (alert["source"], alert["arrives"], alert["person"]) == (
        "hotline_live",
        "live",
        "ho.vp-risk",
    )
    assert alert["reasons"][0] == "red-fraud"
    assert alert["message"] == "sent"
    assert 0 <= alert["seconds"] < 60
    (mail,) = [
        text
        for path in (home.folder / ".loopwright/outbox").rglob("*.txt")
        if "红色预警" in (text := path.read_text("utf-8"))
    ]
    assert "13800138000" not in mail

    say(home, 4, "customer", "好吧", event="hangup")
    run(home, "ingest_feedback", "triage_feedback")
    (alert,) = listed(home)["items"]
    assert alert["loop"] is not None
    home.do("red", "judge", alert["alert"], "--real", "--as", "ho.vp-risk")
    figures = listed(home)["figures"]
    assert (figures["judged"], figures["false_alarms"]) == (1, 0)
    assert (
        home.type("red", "judge", alert["alert"], "--false-alarm", "--as", "ho.vp-risk").code == 1
    )
    assert home.type("red", "judge", alert["alert"], "--as", "ho.vp-risk").code == 2
    home.do("audit", "verify")
