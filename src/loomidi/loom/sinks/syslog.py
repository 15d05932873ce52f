"""Events as syslog messages of RFC 5424, over UDP, TCP with octet counting, or TLS.

Called by `services.events`. In: letters. Out: one message each; a body is one line of ASCII, so no text in it can begin
another message. Syslog has no answers: `send` returns when the system has taken the octets. A connection that the
receiver has closed is noticed before something is written to it, and opened again.
Source: RFC 5424 section 6, RFC 5426, RFC 6587 section 3.4.1, RFC 5425.
"""

import datetime
import errno
import os
import re
import select
import socket
import ssl
from collections.abc import Sequence

from loomidi.contracts import InputError, Severity, UsageError
from loomidi.loom.sinks.letters import Away, Letter, Undeliverable
from loomidi.loom.sinks.settings import SyslogSettings, Transport

_SEVERITIES = {Severity.CRITICAL: 2, Severity.HIGH: 3, Severity.MEDIUM: 4, Severity.LOW: 5, Severity.INFO: 6}
_PORTS = {Transport.UDP: 514, Transport.TCP: 601, Transport.TLS: 6514}
_LAST_S = 253_402_300_799  # the end of year 9999


def message(letter: Letter, facility: int, host: str, process: int) -> bytes:
    """`<PRI>1 TIMESTAMP HOSTNAME loomidi PROCID MSGID - BODY`."""
    seconds = min(letter.at_ns // 10**9, _LAST_S)
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)
    when = f"{moment:%Y-%m-%dT%H:%M:%S}.{letter.at_ns % 10**9 // 1000:06d}Z"
    kind = _printable(letter.kind, 32)
    head = (
        f"<{facility * 8 + _SEVERITIES[letter.severity]}>1 {when} {_printable(host, 255)} loomidi {process} {kind} - "
    )
    return head.encode() + letter.body


def _printable(text: str, most: int) -> str:
    """Printable ASCII without spaces, as a field of the header must be; `-` for nothing."""
    return re.sub(r"[^!-~]", "_", text)[:most] or "-"


class SyslogSink:
    """One receiver."""

    name = "syslog"
    most = 64

    def __init__(self, settings: SyslogSettings, host: str) -> None:
        """`host`: our own name. Raises UsageError for a facility that is none, InputError for certificates."""
        if not 0 <= settings.facility <= 23:
            raise UsageError(f"events.syslog.facility is {settings.facility}; use 0 to 23")
        self._settings, self._host = settings, host
        self._port = settings.port or _PORTS[settings.transport]
        self._context = _context(settings) if settings.transport is Transport.TLS else None
        self._socket: socket.socket | None = None

    def send(self, letters: Sequence[Letter]) -> None:
        """Raises Away without a receiver, Undeliverable for more than a datagram takes."""
        try:
            for one in letters:
                self._write(message(one, self._settings.facility, self._host, os.getpid()))
        except OSError as error:
            self.close()
            if error.errno == errno.EMSGSIZE:
                raise Undeliverable("too_large", "a message larger than a datagram; use tcp or tls") from error
            raise Away("away", f"{self._settings.host}:{self._port}: {error}") from error

    def close(self) -> None:
        """The connection ends."""
        there, self._socket = self._socket, None
        if there is not None:
            there.close()

    def _write(self, octets: bytes) -> None:
        there = self._ready()
        if self._settings.transport is Transport.UDP:
            there.send(octets)
        else:
            there.sendall(b"%d %s" % (len(octets), octets))

    def _ready(self) -> socket.socket:
        """A socket that the receiver has not closed."""
        if self._socket is not None and self._settings.transport is not Transport.UDP and _closed(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._opened()
        return self._socket

    def _opened(self) -> socket.socket:
        where = (self._settings.host, self._port)
        if self._settings.transport is Transport.UDP:
            family, kind, protocol, _, address = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
            there = socket.socket(family, kind, protocol)
            there.settimeout(self._settings.timeout_s)
            there.connect(address)
            return there
        there = socket.create_connection(where, self._settings.timeout_s)
        return there if self._context is None else self._secured(self._context, there)

    def _secured(self, context: ssl.SSLContext, there: socket.socket) -> socket.socket:
        try:
            return context.wrap_socket(there, server_hostname=self._settings.host)
        except OSError:
            there.close()
            raise


def _closed(there: socket.socket) -> bool:
    """A receiver sends nothing: what can be read is its end."""
    readable, _, _ = select.select([there], [], [], 0)
    if not readable:
        return False
    patience_s = there.gettimeout()
    there.settimeout(0)  # what is there may be less than a record of TLS: nobody waits for the rest
    try:
        return not there.recv(4096)
    except (ssl.SSLWantReadError, BlockingIOError):
        return False
    except OSError:
        return True
    finally:
        there.settimeout(patience_s)


def _context(settings: SyslogSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca or None)
        if settings.tls_cert:
            context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"certificates of events.syslog cannot be read: {error}") from error
    return context
