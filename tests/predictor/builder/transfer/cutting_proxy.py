"""A TCP proxy that cuts connections, or holds them still, after a number of bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class CuttingProxy:
    """``limit`` bytes of payload pass in a connection; it is then cut, or held still for good."""

    target: tuple[str, int]
    limit: int | None = None
    most_cuts: int | None = None
    """After so many, everything passes."""
    hold: bool = False
    host: str = ""
    passed: int = 0
    """Bytes of all connections, both ways."""
    cuts: int = 0
    held: threading.Event = field(default_factory=threading.Event)
    """Set when a connection is held still."""
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        spent = self.most_cuts is not None and self.cuts >= self.most_cuts
        left = [1 << 62 if self.limit is None or spent else self.limit]
        back = threading.Thread(target=self._pass, args=(server, client, left), daemon=True)
        with client, server:
            back.start()
            self._pass(client, server, left)
            back.join()

    def _pass(self, source: socket.socket, sink: socket.socket, left: list[int]) -> None:
        with suppress(OSError):
            while data := source.recv(16384):
                with self.lock:
                    room = min(len(data), left[0])
                    left[0] -= room
                    self.passed += room
                sink.sendall(data[:room])
                if room < len(data):
                    if self.hold:
                        self.held.set()
                        self.released.wait()
                    self.cuts += 1
                    break
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting_proxy(
    host: str, limit: int | None = None, *, hold: bool = False, most_cuts: int | None = None
) -> Iterator[CuttingProxy]:
    """A proxy in front of ``host``."""
    name, _, port = host.partition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CuttingProxy((name, int(port)), limit, most_cuts, hold)
        proxy.host = f"127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=proxy.serve, args=(listener,), daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.released.set()
            listener.shutdown(socket.SHUT_RDWR)
