"""HTTP/2: how much of a body a client may have on its way, which is what limits an upload from far away.

Rule: nothing is timed; the windows that are granted are counted, so the finding is the same on every line.
"""

import importlib.util
import socket
import time

from server.doctor.findings import Check
from server.doctor.sample import piece
from server.doctor.visit import Visit
from server.messages import size
from server.messages.phrases import Phrase

_WANTED_BYTES = 256 << 10
_FAR_SECONDS = 0.05
_BODY_BYTES = 2 << 20
_QUIET_SECONDS = 0.1
_MOST_SECONDS = 5.0


def examine(visit: Visit, check: Check) -> None:
    """Send a PATCH by HTTP/2, and count the largest window that it gets."""
    if visit.address.context is None:
        check.skip("http2_needs_tls")
        return
    if importlib.util.find_spec("h2") is None:
        check.skip("http2_package_missing")
        return
    length = min(_BODY_BYTES, visit.left, visit.body_limit or _BODY_BYTES)
    if length < _WANTED_BYTES:
        check.skip("http2_upload_too_small")
        return
    with visit.address.connect("h2") as connection:
        if getattr(connection, "selected_alpn_protocol", lambda: None)() != "h2":
            check.skip("http2_not_offered")
            return
        from h2.exceptions import H2Error

        stream = _Stream(connection, visit)
        try:
            stream.send(piece(visit.offset, length, visit.head))
        except H2Error as error:
            check.find("http2_fails", what=type(error).__name__)
            return
    visit.offset = visit.look() or visit.offset
    check.note = Phrase.of("http2_window", size=size(stream.window))
    if stream.status not in (None, 204):
        check.find("http2_fails", what=str(stream.status))
    elif stream.window < _WANTED_BYTES:
        speed = size(round(stream.window / _FAR_SECONDS))
        check.find("http2_slow", window=size(stream.window), speed=speed)


class _Stream:
    """One PATCH on a connection of its own."""

    def __init__(self, connection: socket.socket, visit: Visit) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self._socket = connection
        self._visit = visit
        self._http = H2Connection(H2Configuration(client_side=True))
        self._ended = False
        self._deadline = time.monotonic() + _MOST_SECONDS
        self.status: int | None = None
        self.window = 0

    def send(self, body: bytes) -> None:
        """Send all of it, as far as windows come within seconds."""
        http, visit = self._http, self._visit
        http.initiate_connection()
        number = http.get_next_available_stream_id()
        deadline = self._deadline
        self._exchange(_QUIET_SECONDS)
        headers = {**visit.headers(visit.patch_headers()), "Content-Length": str(len(body))}
        address = visit.address
        pairs = [
            (":method", "PATCH"),
            (":scheme", address.scheme),
            (":authority", address.authority),
            (":path", visit.upload),
            *((name.lower(), value) for name, value in headers.items()),
        ]
        http.send_headers(number, pairs)
        sent = 0
        while sent < len(body) and time.monotonic() < deadline:
            # Once it is quiet, the window is as large as it gets at this point.
            if not self._exchange(_QUIET_SECONDS):
                break
            window = http.local_flow_control_window(number)
            self.window = max(self.window, window)
            most = min(window, len(body) - sent)
            while most > 0:
                count = min(most, http.max_outbound_frame_size)
                http.send_data(number, body[sent : sent + count], end_stream=sent + count == len(body))
                sent += count
                most -= count
            self._flush()
        while sent == len(body) and time.monotonic() < deadline and self._exchange(_QUIET_SECONDS):
            pass

    def _exchange(self, seconds: float) -> bool:
        """Send what is to be sent, and read until it has been quiet for so long; False once the stream, or the time for
        all of it, has ended."""
        from h2 import events

        self._flush()
        while not self._ended and time.monotonic() < self._deadline:
            self._socket.settimeout(seconds)  # sending has another one
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                return True
            if not data:
                self._ended = True
            for event in self._http.receive_data(data) if data else []:
                if isinstance(event, events.ResponseReceived):
                    self.status = int(dict(event.headers)[b":status"])
                elif isinstance(event, events.StreamEnded | events.StreamReset | events.ConnectionTerminated):
                    self._ended = True
            self._flush()
        return False

    def _flush(self) -> None:
        data = self._http.data_to_send()
        if data:
            self._socket.settimeout(_MOST_SECONDS)
            self._socket.sendall(data)
