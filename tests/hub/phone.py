"""The phone: a local HTTP server that keeps what Home Assistant posts to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.broker import HOST


@dataclass(frozen=True)
class Post:
    """A notification, as a phone's notify action gets it."""

    title: str
    message: str
    data: dict[str, Any]
    arrived_s: float
    """Monotonic."""

    @property
    def step(self) -> str:
        """What our blueprint says it is: crying, escalated, calm, test…"""
        return self.data["step"]

    @property
    def episode_id(self) -> str:
        return self.data.get("episode_id", "")


class Phone:
    """``with Phone() as phone``: post to ``phone.url``."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._posts: list[Post] = []
        phone = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                arrived_s = time.monotonic()
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                phone._keep(Post(**body, arrived_s=arrived_s))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="phone")
        self.url = f"http://{HOST}:{self._server.server_port}/"

    def _keep(self, post: Post) -> None:
        with self._arrived:
            self._posts.append(post)
            self._arrived.notify_all()

    @property
    def posts(self) -> list[Post]:
        with self._arrived:
            return list(self._posts)

    def of(self, *steps: str) -> list[Post]:
        return [post for post in self.posts if post.step in steps]

    def wait_for(
        self, what: str, condition: Callable[[Post], object], *, skip: int = 0, timeout_s: float = 30.0
    ) -> Post:
        """The first post that meets ``condition``, the first ``skip`` posts left aside."""

        def found() -> Post | None:
            return next((post for post in self._posts[skip:] if condition(post)), None)

        with self._arrived:
            post = self._arrived.wait_for(found, timeout_s)
            assert post is not None, f"no {what} within {timeout_s} s; posts: {self._posts}"
            return post

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
