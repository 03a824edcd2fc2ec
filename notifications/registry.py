"""Ways out by name. A new one is a module with a transport and a line here."""

from collections.abc import Callable, Mapping

from notifications.transport import Transport, TransportSettings

WECOM = "wecom_robot"
"""The one way out that speaks in groups; every other one sends to mail addresses."""


def _file(settings: TransportSettings) -> Transport:
    from notifications.file_transport import FileTransport

    return FileTransport(settings.folder, settings.sender)


def _smtp(settings: TransportSettings) -> Transport:
    from notifications.smtp import SmtpTransport

    return SmtpTransport(settings.smtp, settings.sender)


def _wecom_robot(settings: TransportSettings) -> Transport:
    from notifications.wecom_robot import WecomRobotTransport

    return WecomRobotTransport(settings.wecom)


TRANSPORTS: Mapping[str, Callable[[TransportSettings], Transport]] = {
    "file": _file,
    "smtp": _smtp,
    WECOM: _wecom_robot,
}
"""Kind, as settings and outbox rows name it -> factory. One transport serves one batch."""
