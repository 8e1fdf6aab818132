"""Starting a server, in one process or several."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from crosslens.search.index.index import Index
from crosslens.server.app import SETTINGS_VARIABLE, create_app
from crosslens.server.connections import DeadlineProtocol
from crosslens.server.keys import Keys
from crosslens.server.listening import BACKLOG, listen
from crosslens.server.requests import log_as_told
from crosslens.server.settings import ServerSettings
from crosslens.server.threads import one_thread_each
from crosslens.support.addresses import is_address
from crosslens.support.errors import ConfigError, CrosslensError

GRACE = 30
"""Seconds that running requests get when the server stops."""


def check(settings: ServerSettings) -> None:
    """Refuse settings that would not work, or would let everybody in, before anything starts.

    Raises:
        ConfigError: for a host that others can reach without keys, or a key file that cannot be read.
        StoreError: for an index that cannot be opened.
    """
    if not settings.on_loopback and settings.api_key_file is None and not settings.insecure_no_keys:
        raise ConfigError(
            f"without keys, everybody who reaches {settings.host} could search and delete. Make a key with"
            " 'crosslens serve keys add NAME --role write --file keys.json' and start with"
            " '--api-key-file keys.json'; or stay on 127.0.0.1; or say --insecure-no-keys"
        )
    if settings.api_key_file is not None:
        Keys(settings.api_key_file)
    for folder in settings.indexes:
        Index.open(folder).close()


def serve(settings: ServerSettings, announce: Callable[[str], None] | None = None) -> None:
    """Serve until the process is told to stop (SIGINT or SIGTERM).

    Args:
        settings: what to serve, and where.
        announce: called with the URL once the port is taken.

    Raises:
        ConfigError, StoreError: see ``check``.
        CrosslensError: when the port cannot be taken, or the server does not start.
    """
    check(settings)
    with ExitStack() as until:
        sockets = [until.enter_context(closing(one)) for one in listen(settings.host, settings.port)]
        if announce is not None:
            announce(address(settings.host, sockets[0].getsockname()[1]))
        log_as_told(settings)
        one_thread_each()
        try:
            _run(settings, sockets)
        except SystemExit as leaving:
            # uvicorn's own status of a failed start, which means nothing to who called crosslens.
            if leaving.code != STARTUP_FAILURE:
                raise
            raise CrosslensError("the server did not start; what is said above tells why") from None


def _run(settings: ServerSettings, sockets: list[socket.socket]) -> None:
    if settings.workers == 1:
        uvicorn.Server(configuration(settings, create_app(settings))).run(sockets)
        return
    with tempfile.TemporaryDirectory(prefix="crosslens-metrics-") as folder:
        # Worker processes read both; afterwards the folder is gone.
        variables = {"PROMETHEUS_MULTIPROC_DIR": folder, SETTINGS_VARIABLE: settings.model_dump_json()}
        os.environ.update(variables)
        try:
            config = configuration(settings, "crosslens.server.app:app_from_environment")
            from uvicorn.supervisors import Multiprocess

            supervisor = Multiprocess(config, sockets=sockets)
            supervisor.run()
        finally:
            for name in variables:
                os.environ.pop(name, None)
        if any(worker.process.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
            sys.exit(STARTUP_FAILURE)


def configuration(settings: ServerSettings, app: object) -> uvicorn.Config:
    """Uvicorn's configuration: limits on connections. Logs and forwarded addresses are the application's own."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        factory=isinstance(app, str),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=DeadlineProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=settings.connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE,
        # Importing the network's libraries alone can take longer than the usual 5 seconds on a busy machine.
        timeout_worker_healthcheck=120,
        # An id of 4,096 bytes takes three times as many in an address.
        h11_max_incomplete_event_size=64 << 10,
    )


def address(host: str, port: int) -> str:
    """The URL to open in a browser."""
    host = "localhost" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def absolute(folders: list[Path]) -> tuple[Path, ...]:
    """The folders with their whole paths: worker processes may start elsewhere. Addresses stay as they are."""
    return tuple(folder if is_address(folder) else folder.absolute() for folder in folders)
