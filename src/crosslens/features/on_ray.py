"""Embedding on a cluster of Ray: its tasks and actors do the work, this process alone writes.

Why Ray's core and not Ray Data: Ray Data cuts its output by bytes and writes it in tasks, which run twice when a
node is lost, so a shard could be there twice or in halves. Here a task gives back vectors, the job takes each
result once and writes each shard once, and batches are those of one process. Tasks give all else that is needed:
they wait in line, and go to whichever node has a processor free; one whose worker was lost is handed out again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.backbones.devices import cpu_workers
from crosslens.backbones.engine import make_engine
from crosslens.backbones.graphs import Engine, OnnxEngine
from crosslens.features.runner import Crew
from crosslens.features.store import FeatureConfig
from crosslens.features.work import Batch, Decoded, Decoder, Item, Stages, Tower, sent_for
from crosslens.images import limits
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import ConfigError, CrosslensError, FeatureError
from crosslens.support.progress import note
from crosslens.support.version import __version__

TOWER_DEVICE = "cuda"
"""Where towers run that have a GPU of the cluster."""
_GPU_BATCH = 128
_PIECE = 64
"""Squares that a task gets: about a second of a processor, beside which handing it out is little."""
_SHARES = 4
"""Pieces that every worker gets at least, as far as there are batches: with one each, the slowest keeps all."""
_RETRIES = 5
"""How often the work of a lost worker is given to another one; what kills every worker must come to an end."""
_PATIENCE = 5.0
"""Seconds to reach the cluster."""
_TICK, _TELL = 5.0, 60.0
"""Seconds after which a silent cluster is looked at, and after which it is said again what is waited for."""


@dataclass(frozen=True)
class OnRay:
    """A cluster of Ray, or one that is started on this machine for the job.

    Where the cluster has GPUs, decoding takes its processors and a tower each of its GPUs; else one task does
    both, on one processor. Every node needs crosslens in the same version, and the pictures (and weights) under
    the same paths.

    Attributes:
        backbone: its name, by which every node loads it.
        address: of the cluster, ``HOST:6379``, ``ray://HOST:10001`` or ``auto``; by default ``$RAY_ADDRESS``, and
            without that a cluster of this machine alone.
        workers: processors to use at most; all by default.
        device: ``cpu`` or ``cuda``; by default ``cuda`` where the cluster has a GPU.
    """

    backbone: str
    address: str | None = None
    workers: int | None = None
    device: str | None = None

    @contextmanager
    def start(self, backbone: Backbone, config: FeatureConfig) -> Iterator[Crew]:
        """Connect to the cluster, or start one.

        Raises:
            CrosslensError: when Ray is not installed, nothing answers at the address, or its version is another.
        """
        ray = _ray()
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        ours = not ray.is_initialized()
        if ours:
            _connect(ray, address, self.workers or cpu_workers())
        try:
            device = self.device or ("cuda" if ray.cluster_resources().get("GPU") else "cpu")
            job = _Job(
                backbone=self.backbone,
                preprocess=backbone.preprocess,
                config=config.model_dump_json(),
                device=TOWER_DEVICE if device.startswith("cuda") else device,
                max_pixels=limits.max_pixels(),
                folder=os.getcwd(),
            )
            yield (_OnGpus if device.startswith("cuda") else _OnCpus)(ray, job, self.workers)
        except ray.exceptions.RayError as error:
            raise FeatureError(
                f"Ray failed: {str(error).strip().splitlines()[-1]}; what is finished is kept, run the same again"
            ) from error
        finally:
            if ours:
                ray.shutdown()


@dataclass(frozen=True)
class _Job:
    """What a node must know; plain enough to be a key."""

    backbone: str
    preprocess: Preprocess
    config: str
    device: str
    max_pixels: int
    folder: str
    version: str = __version__


@dataclass
class _Decoded:
    """What a task decoded: a piece, on which host, what it does not see there, and the seconds it took."""

    batches: list[Decoded]
    host: str
    unseen: list[Item]
    seconds: dict[str, float]


@dataclass
class _Done:
    """What became of a piece."""

    batches: list[Batch]
    host: str
    unseen: list[Item]
    seconds: dict[str, float]


# What runs on the nodes.


def _prepare(job: _Job) -> None:
    if job.version != __version__:
        raise FeatureError(
            f"crosslens is {__version__} there and {job.version} here; install one version everywhere"
        )
    limits.set_max_pixels(job.max_pixels)
    # Paths are as they were typed. Where there is no such folder, pictures that are not found tell of it.
    with suppress(OSError):
        os.chdir(job.folder)


@lru_cache(maxsize=1)
def _engine(job: _Job) -> Engine:
    """The engine of this process, opened once."""
    backbone = load_backbone(job.backbone, decode=job.preprocess.decode)
    if backbone.fingerprint != FeatureConfig.model_validate_json(job.config).fingerprint:
        raise FeatureError(
            f"the backbone {job.backbone} is another there than here: its weights or settings differ; put the"
            " same on every node"
        )
    return make_engine(backbone, job.device)


@contextmanager
def _named() -> Iterator[None]:
    """What fails inside ``with`` says on which node."""
    node = f"on the node {socket.gethostname()}"
    try:
        yield
    except CrosslensError as error:
        raise FeatureError(f"{node}: {error}") from None
    except Exception as error:
        raise FeatureError(f"{node} a worker failed with {type(error).__name__}: {error}") from error


def _decode(job: _Job, batches: list[list[Item]]) -> _Decoded:
    with _named():
        _prepare(job)
        stages = Stages()
        decode = Decoder(job.preprocess, FeatureConfig.model_validate_json(job.config), stages)
        decoded = [decode(items, contents) for items, contents in sent_for(batches)]
        lost = {entry.id for batch in decoded for entry in batch.skipped}
        unseen = [item for items in batches for item in items if item.id in lost and not item.path.exists()]
        return _Decoded(decoded, socket.gethostname(), unseen, stages.seconds)


def _infer(job: _Job, piece: _Decoded) -> _Done:
    with _named():
        _prepare(job)
        stages = Stages()
        infer = Tower(_engine(job), FeatureConfig.model_validate_json(job.config), stages)
        batches = [infer(decoded) for decoded in piece.batches]
        stages.add(piece.seconds)
        return _Done(batches, piece.host, piece.unseen, stages.seconds)


def _embed(job: _Job, batches: list[list[Item]]) -> _Done:
    return _infer(job, _decode(job, batches))


class _GpuTower:
    """A tower on a GPU of its own."""

    def infer(self, job: _Job, piece: _Decoded) -> _Done:
        """The features of decoded pictures."""
        return _infer(job, piece)


# What runs here.


@dataclass
class _Piece:
    """Consecutive batches that one task gets; how often its worker was lost."""

    first: int
    batches: list[list[Item]]
    lost: int = 0


class _OnCluster:
    """Hands pieces out, and takes each result once."""

    batch_size = OnnxEngine.batch_size

    def __init__(self, ray: Any, job: _Job, workers: int | None) -> None:
        self.ray, self.job, self.stages = ray, job, Stages()
        self._workers = workers
        self._resources: dict[str, float] = {}
        self._looked = float("-inf")

    def run(self, batches: Sequence[list[Item]]) -> Iterator[tuple[int, Batch]]:
        size = self.piece_size(len(batches))
        waiting = (_Piece(first, list(batches[first : first + size])) for first in range(0, len(batches), size))
        again: list[_Piece] = []
        running: dict[Any, _Piece] = {}
        last = told = time.monotonic()
        try:
            while True:
                while len(running) < self.window():
                    piece = again.pop() if again else next(waiting, None)
                    if piece is None:
                        break
                    running[self.submit(piece)] = piece
                if not running:
                    return
                done, _ = self.ray.wait(list(running), num_returns=1, timeout=_TICK)
                now = time.monotonic()
                if done:
                    last = now
                    piece = running.pop(done[0])
                    result = self._taken(done[0], piece)
                    if result is None:
                        again.append(piece)
                    else:
                        self.stages.add(result.seconds)
                        yield from enumerate(result.batches, piece.first)
                elif now - last >= _PATIENCE and now - told >= _TELL and (missing := self.missing()):
                    told = now
                    note(f"waiting for Ray: the cluster has no {missing}; a node that joins it goes on", "yellow")
        finally:
            for ref in running:
                self.ray.cancel(ref)
            self.dismiss()

    def piece_size(self, batches: int) -> int:
        """Batches of a piece: fewer where there are few for each worker. What a batch holds never changes."""
        fair = batches // (_SHARES * max(1, self.window() // 2))
        return max(1, min(_PIECE // self.batch_size, fair))

    def submit(self, piece: _Piece) -> Any:
        """Hand a piece out; what will hold its ``_Done``."""
        raise NotImplementedError

    def settle(self, ref: Any, *, died: bool) -> None:
        """What was handed out came back, or its worker ``died``."""

    def dismiss(self) -> None:
        """Let workers go that would stay."""

    def window(self) -> int:
        """Pieces that may be under way: what can run, and as much again that waits in line for it."""
        return 2 * max(1, min(self.count("CPU"), self._workers or self.count("CPU")))

    def missing(self) -> str:
        """What the work needs and the cluster has none of."""
        return "" if self.count("CPU") else "processor left"

    def count(self, resource: str) -> int:
        """How many of a resource the cluster has, as of a moment ago."""
        now = time.monotonic()
        if now - self._looked >= _TICK:
            self._resources, self._looked = self.ray.cluster_resources(), now
        return int(self._resources.get(resource, 0))

    def _taken(self, ref: Any, piece: _Piece) -> _Done | None:
        """The result of a piece; None when its worker was lost and it must be done again."""
        errors = self.ray.exceptions
        try:
            result: _Done = self.ray.get(ref)
        except errors.RayTaskError as error:
            raise FeatureError(_told(error)) from None
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.RayActorError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
        ) as error:
            self.settle(ref, died=isinstance(error, errors.ActorDiedError))
            piece.lost += 1
            if piece.lost > _RETRIES:
                raise FeatureError(
                    f"the workers that got the pictures from {piece.batches[0][0].path} to"
                    f" {piece.batches[-1][-1].path} were lost {piece.lost} times, at last by"
                    f" {type(error).__name__}: one of them may kill its decoder, or memory is short"
                ) from None
            return None
        self.settle(ref, died=False)
        # The node says that they are not there. Were they removed meanwhile, nobody would see them.
        for item in result.unseen:
            if item.state is not None and item.path.exists():
                raise FeatureError(
                    f"the node {result.host} does not see {item.path}, which is there: pictures must lie under the"
                    " same path on every node"
                )
        return result


class _OnCpus(_OnCluster):
    """One task decodes and infers, on one processor."""

    def __init__(self, ray: Any, job: _Job, workers: int | None) -> None:
        super().__init__(ray, job, workers)
        self._embed = ray.remote(num_cpus=1, max_retries=0)(_embed)

    def submit(self, piece: _Piece) -> Any:
        return self._embed.remote(self.job, piece.batches)


class _OnGpus(_OnCluster):
    """Tasks on processors decode for towers, each on a GPU."""

    batch_size = _GPU_BATCH

    def __init__(self, ray: Any, job: _Job, workers: int | None) -> None:
        super().__init__(ray, job, workers)
        self._decode = ray.remote(num_cpus=1, max_retries=_RETRIES)(_decode)
        self._tower = ray.remote(num_cpus=0, num_gpus=1, max_concurrency=2)(_GpuTower)
        self._load: dict[Any, int] = {}
        self._held_by: dict[Any, Any] = {}

    def submit(self, piece: _Piece) -> Any:
        while len(self._load) < max(1, self.count("GPU")):
            self._load[self._tower.remote()] = 0
        tower = min(self._load, key=self._load.__getitem__)
        ref = tower.infer.remote(self.job, self._decode.remote(self.job, piece.batches))
        self._load[tower] += 1
        self._held_by[ref] = tower
        return ref

    def settle(self, ref: Any, *, died: bool) -> None:
        tower = self._held_by.pop(ref)
        if died:
            self._load.pop(tower, None)
        elif tower in self._load:
            self._load[tower] -= 1

    def dismiss(self) -> None:
        for tower in self._load:
            self.ray.kill(tower)
        self._load.clear()

    def window(self) -> int:
        return super().window() + 2 * self.count("GPU")

    def missing(self) -> str:
        return super().missing() or ("" if self.count("GPU") else "GPU left")


def _told(error: Any) -> str:
    """What went wrong on a node; what never came to its own words is a node that lacks something."""
    cause = error.cause or error
    if isinstance(cause, CrosslensError):
        return str(cause)
    return f"a node of the cluster failed: {cause}; every one needs crosslens[train,ray] in version {__version__}"


def _ray() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError:
        raise CrosslensError("this takes Ray, which is not installed: pip install 'crosslens[ray]'") from None
    return ray


def _connect(ray: Any, address: str, processors: int) -> None:
    """Join the cluster at an address; ``local`` starts one on this machine.

    Raises:
        CrosslensError: when nothing answers there, or Ray's versions differ.
    """
    if address == "local":
        more: dict[str, Any] = {"num_cpus": processors, "include_dashboard": False}
    else:
        more = {}
        _require_answer(address)
    polite = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **more)
        if threading.current_thread() is threading.main_thread():
            # Ray takes it for itself, and then ends without a word.
            signal.signal(signal.SIGTERM, polite)
    except (Exception, SystemExit) as error:
        # Ray ends the process when it gives up.
        reason = " ".join(str(error).split()) if isinstance(error, Exception) else "it gave no answer"
        raise CrosslensError(f"no work with the Ray cluster at {address}: {reason}") from None


def _require_answer(address: str) -> None:
    """Knock first: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        if address == "auto":
            return
        raise ConfigError(f"the address of a Ray cluster is HOST:6379, ray://HOST:10001 or auto, not {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise CrosslensError(
            f"no Ray cluster answers at {address} ({error}); 'ray start --head' starts one, and without --address"
            " this machine is one"
        ) from None
