"""What instance contrast, ProtoNCE and UCDIR share: two views, a momentum encoder, a memory bank per domain."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from crosslens.encoder import Encoder
from crosslens.errors import ConfigError, TrainingError
from crosslens.features.load import Features
from crosslens.images.augment import Augmentation
from crosslens.methods.base import FitJob, Method, MethodConfig
from crosslens.nn.batch_norm import SharedBatchNorm2d, replace_batch_norms, set_halves
from crosslens.nn.heads import Head, HeadGroup, TunedNetwork
from crosslens.nn.momentum import halves_after_shuffle, momentum_copy, momentum_update, shuffled_forward
from crosslens.training.batches import PairBatches, generator_for
from crosslens.training.distributed import require_same_in_parts
from crosslens.training.loop import train
from crosslens.training.views import CachedViews, ImageViews, Views


class TwoViewConfig(MethodConfig):
    """Settings of every two-view method; the defaults are for a head on cached features.

    Attributes:
        epochs: passes over the larger domain.
        most_steps: steps of an epoch at most; None takes the whole larger domain.
        batch_size: images per domain and step.
        optimizer: ``adamw``, or ``sgd`` with momentum 0.9 as in the papers.
        lr: base learning rate; a cosine, set once an epoch, takes it to 0.
        weight_decay: on all trainable weights.
        ema: momentum of the momentum encoder, per step.
        temperature: T of every contrast.
        head: hidden and output widths; the last is the length of one head's vector.
        members: heads trained one after the other from different seeds and joined in the encoder, which averages
            out the chance in single trainings (``tune=head``).
        pretrained_head: start from the head that came with the backbone (MoCo v2) instead of a new one.
        views: random views cached per image (``tune=head``).
        augmentation: how random views are drawn.
        centre: subtract each domain's mean from its features first (``tune=head``); the encoder keeps the means.
        order: ``independent`` shuffles each domain alone; ``joint`` is the authors' loader.
        amp: bfloat16 autocast of the image tower (``tune=full`` on a GPU).
    """

    epochs: int = Field(20, ge=1)
    most_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(64, ge=2)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    ema: float = Field(0.99, ge=0, lt=1)
    temperature: float = Field(0.2, gt=0)
    head: tuple[int, ...] = (512, 128)
    members: int = Field(1, ge=1)
    pretrained_head: bool = False
    views: int = Field(3, ge=1)
    augmentation: Augmentation = Augmentation()
    centre: bool = False
    order: Literal["independent", "joint"] = "independent"
    amp: bool = True


@dataclass(frozen=True)
class Embedded:
    """One domain's part of a step, over the whole batch of all processes.

    Attributes:
        q: query features ``(B, d)``, unit rows, with gradient.
        keys: key features ``(B, d)``, unit rows.
        index: bank slots ``(B,)``.
        bank: ``(N, d)`` with the keys written.
    """

    q: Tensor
    keys: Tensor
    index: Tensor
    bank: Tensor


class TwoViewMethod(Method):
    """Trains a network on two views of every image of two domains; subclasses say with which losses.

    The order within a step is UCDIR's: query forward, momentum update, key forward in shuffled order, bank
    write, losses, optimiser step.
    """

    Config = TwoViewConfig
    tunes = ("head", "full")

    @property
    def config(self) -> TwoViewConfig:
        """The settings, typed."""
        assert isinstance(self.settings, TwoViewConfig)
        return self.settings

    @abstractmethod
    def losses(self, epoch: int, parts: tuple[Embedded, Embedded]) -> dict[str, Tensor]:
        """The losses of one step: ``total`` and its parts."""

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Called before every epoch; clusters here. Returns numbers for the log."""
        return {}

    def end_epoch(self, epoch: int) -> Mapping[str, float]:
        """Called after every epoch. Returns numbers for the log."""
        return self._observe(epoch) if self.job.oracle else {}

    def reset(self) -> None:
        """Forget the clusters of a previous member; called before every training."""

    def extra_state(self) -> dict[str, Any]:
        """What a subclass adds to a checkpoint."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what ``extra_state`` gave."""

    def fit(self, job: FitJob) -> Encoder:
        """Train, resuming where the run stopped, and return the momentum encoder of the last epoch.

        Raises:
            TrainingError: unless two domains are given, or when a loss stops being finite.
        """
        if len(job.domains) != 2:
            raise TrainingError(
                f"{self.name} learns from exactly two domains (--domains A,B), not {len(job.domains)}"
            )
        members = self.config.members
        if members > 1 and (job.tune != "head" or job.oracle is not None):
            raise ConfigError("several members need --tune head and no --oracle; add --set members=1")
        self.job = job
        self.epochs = self.config.epochs
        self.means: dict[str, Tensor] = {}
        views = self._cached_views(job) if job.tune == "head" else self._image_views(job)
        trained = []
        for member in range(members):
            self._prepare(job, views, job.seed if members == 1 else 1000 * job.seed + member)
            self._train(
                "last" if members == 1 else f"member-{member}",
                "training" if members == 1 else f"training head {member + 1} of {members}",
            )
            trained.append(self._encoder(self.slow))
        if members == 1:
            return trained[0]
        groups = [encoder.head for encoder in trained if isinstance(encoder.head, HeadGroup)]
        heads = [head for group in groups for head in group.members]
        return Encoder(
            job.backbone, method=self.name, head=HeadGroup(heads), means=self.means, trained=self.facts(job)
        )

    def _train(self, name: str, label: str) -> None:
        """Train what ``_prepare`` set up; ``name`` is the checkpoint's, ``label`` the progress bar's."""
        train(self, self.job.run, world=self.job.world, name=name, label=label, after_epoch=self.end_epoch)

    def _prepare(self, job: FitJob, views: tuple[Views, Views], seed: int) -> None:
        torch.manual_seed(seed)
        self.seed = seed
        self.batches = PairBatches(views, self.config.batch_size, seed, self.config.order, job.world)
        self.steps = min(self.batches.steps, self.config.most_steps or self.batches.steps)
        device = job.torch_device
        self.network = self._network(job).to(device)
        if job.world.size > 1:
            replace_batch_norms(self.network, SharedBatchNorm2d, job.world.total)
            require_same_in_parts(self.network)
        self.slow = momentum_copy(self.network)
        self.optimizer = self._optimizer()
        self._amp = self.config.amp and device.type == "cuda" and job.tune == "full"
        self._best_score = -1.0
        self.banks = [self.centre_features(domain) for domain in (0, 1)]
        self.reset()

    def _cached_views(self, job: FitJob) -> tuple[Views, Views]:
        return self.views_of(job.features_by_domain(self.config.views, self.config.augmentation))

    def views_of(self, by_domain: Mapping[str, Features]) -> tuple[Views, Views]:
        """Cached features of both domains as training inputs, centred where that is asked for."""
        job = self.job
        self.catalogs = [by_domain[domain].catalog for domain in job.domains]
        views = []
        for domain in job.domains:
            features = by_domain[domain]
            mean = torch.from_numpy(features.centre).mean(0) if self.config.centre else None
            if mean is not None:
                self.means[domain] = mean
            views.append(CachedViews(features.values, mean, job.torch_device))
        return views[0], views[1]

    def _image_views(self, job: FitJob) -> tuple[Views, Views]:
        if self.config.centre:
            raise ConfigError("centre works on cached features; with --tune full leave it out")
        # Embedding them once finds the images that cannot be read before hours of training do.
        readable = job.features_by_domain()
        self.catalogs = [readable[domain].catalog for domain in job.domains]
        views = [
            ImageViews(
                catalog.paths,
                job.backbone.preprocess,
                self.config.augmentation,
                job.torch_device,
                job.workers,
            )
            for catalog in self.catalogs
        ]
        return views[0], views[1]

    def _network(self, job: FitJob) -> TunedNetwork:
        tower = copy.deepcopy(job.backbone.tower).requires_grad_(True) if job.tune == "full" else None
        if not self.config.pretrained_head:
            return TunedNetwork(Head((job.backbone.dim, *self.config.head)), tower)
        given = getattr(job.backbone, "pretrained_head", None)
        if given is None:
            raise ConfigError(
                f"{job.backbone.name} brings no head of its own; use moco-v2:FILE or --set pretrained_head=false"
            )
        linear = [layer for layer in given if isinstance(layer, nn.Linear)]
        head = Head((linear[0].in_features, *(layer.out_features for layer in linear)), unit_inputs=False)
        head.layers.load_state_dict(given.state_dict())
        return TunedNetwork(head, tower)

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, lr=self.config.lr, momentum=0.9, weight_decay=self.config.weight_decay
            )
        return torch.optim.AdamW(parameters, lr=self.config.lr, weight_decay=self.config.weight_decay, fused=True)

    @torch.no_grad()
    def centre_features(self, domain: int) -> Tensor:
        """Momentum-encoder features ``(N, d)`` of every centre view, in evaluation mode."""
        with _evaluating(self.slow):
            return torch.cat([self._centre(domain, inputs) for inputs in self.batches.views[domain].centres()])

    def step(self, epoch: int, step: int) -> dict[str, Tensor]:
        """One step's losses; writes the banks and moves the momentum encoder on."""
        self._begin_step()
        batch = self.batches.get(epoch, step)
        world = self.job.world
        q = self._queries(batch.queries)
        momentum_update(self.slow, self.network, self.config.ema)
        with torch.no_grad():
            keys = self._keys(batch.keys, epoch, step)
        parts = []
        for domain in (0, 1):
            whole_keys = world.gather(keys[domain])
            index = batch.index[domain].to(whole_keys.device)
            bank = self.banks[domain]
            self._undo.append(partial(bank.index_copy_, 0, index, bank[index]))
            bank.index_copy_(0, index, whole_keys)
            parts.append(Embedded(world.gather(q[domain]), whole_keys, index, self.banks[domain]))
        return self.losses(epoch, (parts[0], parts[1]))

    def _begin_step(self) -> None:
        """Keep what the step changes before the optimiser does, apart from bank rows."""
        moving = [
            p
            for p, fast in zip(self.slow.parameters(), self.network.parameters(), strict=True)
            if fast.requires_grad and p is not fast
        ]
        self._undo: list[Callable[[], object]] = [keep([*moving, *self.network.buffers(), *self.slow.buffers()])]

    def undo_step(self) -> None:
        """Take back what the last ``step`` changed: banks, momentum encoder, running statistics."""
        with torch.no_grad():
            while self._undo:
                self._undo.pop()()

    def _queries(self, views: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        """Query features of both domains' views."""
        return self._forward(self.network.train(), torch.cat(views)).split(len(views[0]))

    def _keys(self, views: tuple[Tensor, Tensor], epoch: int, step: int) -> Sequence[Tensor]:
        """Key features of both domains' views, both domains shuffled together."""
        self.slow.train()
        generator = generator_for(self.seed + 1, epoch, step)
        world, size = self.job.world, self.config.batch_size
        if world.size == 1:
            keys = shuffled_forward(lambda x: self._forward(self.slow, x), torch.cat(views), generator)
        else:
            # What a shuffle does is to say who is normalised with whom; the other rows are with other processes.
            halves = halves_after_shuffle(2 * size, generator).view(2, size)[:, world.part(size)]
            set_halves(self.slow, halves.flatten())
            keys = self._forward(self.slow, torch.cat(views))
        return keys.split(len(views[0]))

    def _centre(self, domain: int, inputs: Tensor) -> Tensor:
        """Momentum features of one domain's centre views."""
        return self._forward(self.slow, inputs)

    def _forward(self, network: nn.Module, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=getattr(self, "_amp", False)):
            rows: Tensor = network(inputs)
        return rows.float()

    def state(self) -> dict[str, Any]:
        """Networks, banks, optimiser and the subclass's own."""
        return {
            "network": self.network.state_dict(),
            "slow": self.slow.state_dict(),
            "banks": list(self.banks),
            "optimizer": self.optimizer.state_dict(),
            "best_score": self._best_score,
            "extra": self.extra_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.network.load_state_dict(state["network"])
        self.slow.load_state_dict(state["slow"])
        for own, saved in zip(self.banks, state["banks"], strict=True):
            if own.shape != saved.shape:
                raise ValueError(f"a domain had {len(saved)} images and has {len(own)} now")
            own.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self._best_score = state["best_score"]
        self.load_extra_state(state["extra"])

    def _encoder(self, network: nn.Module) -> Encoder:
        assert isinstance(network, TunedNetwork)
        assert isinstance(network.head, Head)
        job = self.job
        backbone = job.backbone
        if network.tower is not None:
            backbone = backbone.with_tower(copy.deepcopy(backbone.tower))
            # Split batch normalisation is ordinary in evaluation, and has the same state.
            backbone.tower.load_state_dict(network.tower.state_dict())
            backbone.tower.eval().requires_grad_(False)
        head = Head(network.head.sizes, unit_inputs=network.head.unit_inputs)
        head.load_state_dict(network.head.state_dict())
        return Encoder(
            backbone,
            method=self.name,
            head=head,
            means=self.means,
            tuned=network.tower is not None,
            trained=self.facts(job),
        )

    def _observe(self, epoch: int) -> Mapping[str, float]:
        """With ``--oracle``: score the epoch with labels and keep the best one's encoder, as the authors do."""
        assert self.job.oracle is not None
        ids = [catalog.ids for catalog in self.catalogs]
        score = self.job.oracle.score((ids[0], ids[1]), (self.centre_features(0), self.centre_features(1)))
        if score > self._best_score and self.job.world.is_main:
            self._best_score = score
            self._encoder(self.slow).save(self.job.run.oracle_folder)
        return {"oracle_score": score}


def keep(tensors: Sequence[Tensor]) -> Callable[[], object]:
    """Copy tensors; calling the result puts the copies back in place."""
    copies = [tensor.detach().clone() for tensor in tensors]

    def restore() -> None:
        with torch.no_grad():
            for tensor, copied in zip(tensors, copies, strict=True):
                tensor.copy_(copied)

    return restore


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def weighted_total(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """``sum_i w_i L_i`` over the terms whose weight is not 0."""
    return torch.stack([weight * loss for weight, loss in terms if weight]).sum()
