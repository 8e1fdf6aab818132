"""What one process of a server holds, from its start to its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import Request

from crosslens.backbones.devices import cpu_workers
from crosslens.images.limits import max_pixels, set_max_pixels
from crosslens.server.access import Access
from crosslens.server.collection import Collection, open_collections
from crosslens.server.embedding import Embedding
from crosslens.server.jobs import JobTable
from crosslens.server.keys import Keys
from crosslens.server.local import LocalSocket
from crosslens.server.metrics import Meter
from crosslens.server.problems import Problem
from crosslens.server.rate import RateLimit
from crosslens.server.rounds import Rounds
from crosslens.server.settings import ServerSettings
from crosslens.server.thumbnails import Thumbnails
from crosslens.server.uploads import Uploads
from crosslens.server.working import Worker
from crosslens.support.errors import CrosslensError
from crosslens.support.places import cache_folder

log = logging.getLogger(__name__)
Made = TypeVar("Made")


class Service:
    """Collections, jobs, thumbnails, metrics and who may use them.

    Raises:
        StoreError: when an index cannot be opened.
        ConfigError: when the key file cannot be read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        # What may be uploaded can be decoded afterwards too.
        set_max_pixels(max(max_pixels(), settings.max_pixels))
        self.meter = Meter()
        self.access = Access(
            Keys(settings.api_key_file) if settings.api_key_file else None,
            RateLimit(settings.rate, settings.burst),
        )
        self.collections = open_collections(settings.indexes, settings.root_path)
        self.embedding = Embedding(settings, self.meter)
        self.thumbnails = Thumbnails(cache_folder() / "thumbnails", settings.thumbnail_bytes)
        self.tables = {name: JobTable(one.folder, name) for name, one in self.collections.items()}
        self.uploads = {name: Uploads(one.folder) for name, one in self.collections.items()}
        self.worker = Worker(self.collections, self.tables, self.uploads, self.embedding, self.meter)
        self.sockets = [LocalSocket(one) for one in self.collections.values()]
        self.ready = threading.Event()
        self._stopping = threading.Event()
        # More than cores: some of these threads wait for the disk, and searches wait to be answered together.
        self._threads = ThreadPoolExecutor(max(16, 2 * cpu_workers()), thread_name_prefix="request")
        self.together = Rounds(self._threads)
        self._looking = ThreadPoolExecutor(cpu_workers(), thread_name_prefix="thumbnail")

    def start(self) -> None:
        """Load the encoders in the background, and begin with jobs that wait."""
        threading.Thread(target=self._warm, name="warm", daemon=True).start()
        self.worker.start()
        for one in self.sockets:
            one.start()

    def stop(self) -> None:
        """Let jobs finish their batch, then stop every thread."""
        self._stopping.set()
        for one in self.sockets:
            one.close()
        self.worker.stop()
        self.embedding.close()
        self._threads.shutdown(cancel_futures=True)
        self._looking.shutdown(cancel_futures=True)

    async def thread(self, work: Callable[..., Made], *arguments: object) -> Made:
        """Run something that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def picture_thread(self, work: Callable[..., Made], *arguments: object) -> Made:
        """Run something that blocks for a thumbnail; a page of them must not hold up searches."""
        return await asyncio.get_running_loop().run_in_executor(self._looking, work, *arguments)

    def collection(self, name: str) -> Collection:
        """One collection.

        Raises:
            Problem: 404 when there is none of that name.
        """
        if name not in self.collections:
            raise Problem(404, f"there is no collection {name[:100]!r}; see /api/v1/collections")
        return self.collections[name]

    def _keep_prepared(self, every: float = 2.0) -> None:
        """Prepare each collection whose version has not changed since the last look.

        The encoder of an index that took another's place is run once, so that its first search need not wait.
        """
        warm = {name: collection.searcher for name, collection in self.collections.items()}
        seen: dict[str, str] = {}
        tried: dict[str, str] = {}
        while not self._stopping.is_set():
            for name, collection in self.collections.items():
                try:
                    collection.refresh()
                    searcher, version = collection.searcher, collection.version
                    if warm[name] is not searcher:
                        warm[name] = searcher
                        self.embedding.warm(searcher.encoder)
                    self.meter.items.labels(name).set(len(collection.index))
                    if seen.get(name, version) == version != tried.get(name):
                        tried[name] = version
                        collection.prepare()
                    seen[name] = version
                except CrosslensError as error:
                    log.warning("%s has no probability of a match: %s", name, error)
            self._stopping.wait(every)

    def _warm(self) -> None:
        try:
            for collection in self.collections.values():
                self.embedding.warm(collection.encoder)
                self.meter.items.labels(collection.name).set(collection.info().items)
            # What was loaded by now stays: later collections of garbage need not look through it.
            gc.collect()
            gc.freeze()
            self.ready.set()
            self._keep_prepared()
        except (CrosslensError, Problem) as error:
            log.error("the server does not become ready: %s", error)


def service_of(request: Request) -> Service:
    """The service of the application that a request came to."""
    service: Service = request.app.state.service
    return service
