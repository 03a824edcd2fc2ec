"""Settings: file, then environment, then flags; secrets from files; each wrong key named."""

from pathlib import Path

import pytest

from loopwright.errors import InputError
from loopwright.settings import load_settings

pytestmark = pytest.mark.usefixtures("home")


def write(text: str) -> None:
    Path("loopwright.toml").write_text(text, "utf-8")


def test_defaults_stay_below_the_working_directory() -> None:
    settings = load_settings()
    assert settings.database.url.startswith("sqlite:///.loopwright/")
    assert settings.messages.transport == "file"


def test_later_ways_win(monkeypatch: pytest.MonkeyPatch) -> None:
    write('language = "en"\n[smtp]\nhost = "from.file"\nport = 2525\n')
    assert (load_settings().smtp.host, load_settings().smtp.port) == ("from.file", 2525)
    monkeypatch.setenv("LOOPWRIGHT_SMTP__HOST", "from.environment")
    settings = load_settings()
    assert (settings.smtp.host, settings.smtp.port) == ("from.environment", 2525)
    assert settings.language == "en"
    assert load_settings(language="zh").language == "zh"


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("colour = 1\n", "colour"),
        ('[smtp]\nport = "many"\n', "smtp.port"),
        ("[messages]\nconcurrency = []\n", "messages.concurrency"),
        ("this is not toml", "loopwright.toml"),
    ],
)
def test_a_wrong_key_is_named(toml: str, named: str) -> None:
    write(toml)
    with pytest.raises(InputError, match=named) as caught:
        load_settings()
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_a_secret_from_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "secret").write_text("whisper\n")
    # The variable itself is set as a side effect; registering it here takes it back afterwards.
    monkeypatch.setenv("LOOPWRIGHT_IDENTITY__SECRET", "old")
    monkeypatch.setenv("LOOPWRIGHT_IDENTITY__SECRET_FILE", str(home / "secret"))
    secret = load_settings().identity.secret
    assert secret is not None
    assert secret.get_secret_value() == "whisper"
    assert "whisper" not in repr(load_settings())


def test_a_missing_secret_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPWRIGHT_SMTP__PASSWORD_FILE", str(home / "absent"))
    with pytest.raises(InputError, match="LOOPWRIGHT_SMTP__PASSWORD_FILE"):
        load_settings()
