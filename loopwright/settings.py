"""Settings: `loopwright.toml`, then environment `LOOPWRIGHT_…` (nested with `__`), then flags.

A secret may also come as `…_FILE` naming a file that holds it. Nothing else reads the environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from loopwright.errors import InputError

PREFIX = "LOOPWRIGHT_"


class Database(BaseModel):
    url: str = "sqlite:///.loopwright/loopwright.db"


class Smtp(BaseModel):
    host: str = "localhost"
    port: int = 25
    username: str | None = None
    password: SecretStr | None = None
    starttls: bool = False
    tls: bool = False
    ca_file: Path | None = None
    sender: str = "loopwright@localhost"
    timeout: float = 30.0


class Wecom(BaseModel):
    """`robots`: a group robot's name -> its key; names compare without case, `-` and `.` as `_`.
    `beside`: units whose robot has a key get their messages there too, whatever else is used."""

    base_url: Annotated[str, StringConstraints(pattern="^https?://")] = (
        "https://qyapi.weixin.qq.com"
    )
    robots: dict[str, SecretStr] = {}
    beside: bool = True
    timeout: float = 10.0


class Messages(BaseModel):
    """`concurrency`: how many are under way at once, and so how many a crash may send twice.
    `transport`: file (writes what would be sent), smtp or wecom_robot."""

    transport: str = "file"
    folder: Path = Path(".loopwright/outbox")
    concurrency: int = Field(default=1, ge=1, le=64)


class Identity(BaseModel):
    """`secret` (or the file `secret_path`) keys the hashes of customers' keys; keep it for ever."""

    secret: SecretStr | None = None
    secret_path: Path = Path(".loopwright/identity.key")


def encrypted_or_here(address: SecretStr | None) -> SecretStr | None:
    """An address that nobody on the way can read along. Raises ValueError for another."""
    parts = urlsplit(address.get_secret_value()) if address else None
    here = ("localhost", "127.0.0.1", "::1")
    if parts and not (
        (parts.scheme == "https" and parts.hostname)
        or (parts.scheme == "http" and parts.hostname in here)
    ):
        raise ValueError("https, or http on this machine")
    return address


class Audit(BaseModel):
    """Signing and publishing checkpoints. `key` is a key file's line; without key and file this
    process does not sign. `former_keys` are the vkeys that signed before it; in `last_signed` the
    signer itself remembers what it signed last. Mail and group hear of the newest checkpoint every
    `say_minutes` at most, the file and the address at once. `post_to` may hold a token, so it is as
    secret as a key."""

    origin: str | None = None
    key: SecretStr | None = None
    key_file: Path = Path(".loopwright/audit.key")
    former_keys: tuple[str, ...] = ()
    last_signed: Path = Path(".loopwright/audit.signed")
    mail_to: tuple[str, ...] = ()
    append_to: Path | None = None
    wecom_robot: str | None = None
    post_to: SecretStr | None = None
    say_minutes: int = Field(default=60, ge=0)

    @field_validator("post_to")
    @classmethod
    def encrypted_or_here(cls, address: SecretStr | None) -> SecretStr | None:
        return encrypted_or_here(address)


class Cases(BaseModel):
    """Where the status of imported cases is posted, and the secret (Standard Webhooks) that signs
    it. `post_to` may hold a token, so it is as secret as a key."""

    post_to: SecretStr | None = None
    secret: SecretStr | None = None

    @field_validator("post_to")
    @classmethod
    def encrypted_or_here(cls, address: SecretStr | None) -> SecretStr | None:
        return encrypted_or_here(address)


class Prefect(BaseModel):
    """`home` holds Prefect's own database, never ours. `template`: its migrated empty form, by
    default beside the installed packages, keyed by Prefect's version."""

    home: Path = Path(".loopwright/prefect")
    template: Path | None = None


class Settings(BaseSettings):
    """Everything an installation sets; see docs/reference/settings.md."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        nested_model_default_partial_update=True,
    )
    toml: ClassVar[Path] = Path("loopwright.toml")

    database: Database = Database()
    identity: Identity = Identity()
    messages: Messages = Messages()
    smtp: Smtp = Smtp()
    wecom: Wecom = Wecom()
    audit: Audit = Audit()
    cases: Cases = Cases()
    prefect: Prefect = Prefect()
    documents: tuple[Path, ...] = (Path("organisation"),)
    inbox: Path = Path(".loopwright/inbox")
    models: Path = Path(".loopwright/models")
    language: Literal["zh", "en"] = "zh"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, toml_file=cls.toml)
        return init_settings, env_settings, toml


def load_settings(**flags: Any) -> Settings:
    """Settings as they hold now. Raises InputError naming each wrong key."""
    read_secret_files(os.environ)
    try:
        return Settings(**flags)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()
        )
        raise InputError(
            f"settings: {wrong}", "correct loopwright.toml or the LOOPWRIGHT_… variable"
        ) from None
    except ValueError as error:
        raise InputError(f"loopwright.toml cannot be read: {error}", "correct the file") from None


def read_secret_files(environment: Mapping[str, str]) -> None:
    """Turn `LOOPWRIGHT_X_FILE=path` into `LOOPWRIGHT_X=content of path`."""
    for name, path in list(environment.items()):
        if name.startswith(PREFIX) and name.endswith("_FILE"):
            try:
                os.environ[name.removesuffix("_FILE")] = Path(path).read_text("utf-8").strip()
            except OSError as error:
                raise InputError(
                    f"{name}: {path} cannot be read ({error.strerror})",
                    "point it at a readable file that holds the secret",
                ) from None
            del os.environ[name]
