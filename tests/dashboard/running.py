"""A dashboard that runs in this process: its loop in one thread, its server in another."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from dashboard.http import HttpDoor
from dashboard.service import DashboardService, Door

PAGE = Path(__file__).resolve().parents[2] / "dashboard" / "page.html"
PATIENCE_S = 20.0


class Running:
    """A dashboard of a run directory, on a port of its own.

    Attributes:
        url: where it answers.
    """

    def __init__(self, run_dir: Path, port: int = 0) -> None:
        self._is_stopping = False
        self._is_open = threading.Event()
        self.url = ""

        def open_door(service: DashboardService) -> Door:
            door = HttpDoor(service, "127.0.0.1", port, PAGE.read_bytes(), "1.0")
            self.url = door.address
            self._is_open.set()
            return door

        service = DashboardService(run_dir)
        self._thread = threading.Thread(
            target=service.serve, args=(lambda: self._is_stopping, open_door), daemon=True
        )

    def state(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/api/state").json())

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_open.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Give what a stream tells; signs of life are passed over."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
