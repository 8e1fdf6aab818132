"""What a server is told when it starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OWN = ("api", "assets", "docs", "health", "ready", "metrics")


class ServerSettings(BaseModel):
    """One server. Handed to worker processes as JSON.

    Attributes:
        indexes: index folders; each becomes a collection under its folder's name.
        host, port: where to listen.
        workers: processes; each holds its own encoder.
        api_key_file: keys that are let in; without one everybody is, so the server stays on loopback.
        insecure_no_keys: listen elsewhere without keys all the same.
        allow_hosts: further names the server is reached by (``Host`` header).
        trust_proxy: addresses of proxies whose ``X-Forwarded-For``, ``-Proto`` and ``-Host`` are believed, with
            commas between; None believes nobody.
        root_path: the path below which a proxy shows the server, such as ``/photos``; empty for none.
        log_level: what is logged: ``info`` has a line for every request but routine ones, ``debug`` for those too.
        log_json: log JSON objects, one a line, instead of text.
        max_upload: bytes of one request's body.
        max_pixels: width x height of one uploaded image; above the limit of this process it raises that.
        max_images: images in one search.
        max_added: images in one request that adds.
        rate: searches a second for one client; a picture of the page counts as a twentieth of one.
        burst: searches a client may make at once after a rest.
        body_timeout: seconds a request's body may take to arrive.
        connections: open connections of one worker.
        queue: images waiting for the encoder before further ones are refused.
        thumbnail_bytes: size of the thumbnail cache on disk.
        page: whether ``/`` shows the page.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    indexes: tuple[Path, ...] = Field(min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    api_key_file: Path | None = None
    insecure_no_keys: bool = False
    allow_hosts: tuple[str, ...] = ()
    trust_proxy: str | None = None
    root_path: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    log_json: bool = False
    max_upload: int = Field(32 << 20, ge=1024)
    max_pixels: int = Field(50_000_000, ge=1)
    max_images: int = Field(8, ge=1, le=64)
    max_added: int = Field(64, ge=1, le=1000)
    rate: float = Field(50.0, gt=0)
    burst: float = Field(200.0, ge=1)
    body_timeout: float = Field(30.0, gt=0)
    connections: int = Field(512, ge=1)
    queue: int = Field(256, ge=1)
    thumbnail_bytes: int = Field(512 << 20, ge=1 << 20)
    page: bool = True

    @field_validator("root_path")
    @classmethod
    def _as_a_prefix(cls, given: str) -> str:
        steps = given.strip("/")
        if not steps:
            return ""
        if not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", steps, re.ASCII) or {".", ".."} & set(steps.split("/")):
            raise ValueError(f"{given!r} is no path such as /photos")
        if steps.split("/")[0] in _OWN:
            raise ValueError(f"/{steps.split('/')[0]} is an address of the server's own; choose another path")
        return f"/{steps}"

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOOPBACK
