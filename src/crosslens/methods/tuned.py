"""What ``--tune`` lets change: a head behind cached features or, with it, the backbone's tower.

A ``Tuned`` brings the inputs of the domains, the network that is trained with its optimiser, and the encoder that
comes of it; what it can do is declared on it, so that no method asks which one it has. How it is trained is the
business of a method (``two_view.py``, ``uem/``).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Heads, TrainedTower
from crosslens.features.load import Features, StoredFeatures
from crosslens.images.augment import Augmentation
from crosslens.methods.base import FitJob, Method, MethodConfig
from crosslens.methods.tune import Tune
from crosslens.nn.batch_norm import SharedBatchNorm2d, replace_batch_norms, set_halves
from crosslens.nn.heads import Head, TunedNetwork
from crosslens.nn.momentum import halves_after_shuffle, shuffled_forward
from crosslens.support.errors import ConfigError
from crosslens.training.bank import BankSample
from crosslens.training.distributed import World, require_same_in_parts
from crosslens.training.views import CachedViews, ImageViews, StoredViews, Views


class TunedConfig(MethodConfig):
    """Settings of every training on domains; the defaults are for a head on cached features."""

    epochs: int = Field(20, ge=1)
    """Passes over the largest domain; more where ``least_steps`` asks for them."""
    least_steps: int = Field(1, ge=1)
    """Steps of an epoch at least."""
    most_steps: int | None = Field(None, ge=1)
    """Steps of an epoch at most; None takes the whole larger domain."""
    batch_size: int = Field(64, ge=2)
    """Images per domain and step; fewer where the largest domain has no more, and with more than four domains."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """``adamw``, or ``sgd`` with momentum 0.9 as in the papers."""
    lr: float = Field(1e-3, gt=0)
    """Base learning rate; a cosine, set once an epoch, takes it to 0."""
    weight_decay: float = Field(1e-4, ge=0)
    """On all trainable weights."""
    temperature: float = Field(0.2, gt=0)
    """T of every contrast."""
    head: tuple[int, ...] = (512, 128)
    """Hidden and output widths; the last is the length of one head's vector."""
    members: int = Field(1, ge=1)
    """Heads trained one after the other from different seeds and joined in the encoder, which averages out the
    chance in single trainings (``--tune head``)."""
    pretrained_head: bool = False
    """Start from the head that came with the backbone (MoCo v2) instead of a new one."""
    views: int = Field(3, ge=1)
    """Random views cached per image (``--tune head``)."""
    augmentation: Augmentation = Augmentation()
    """How random views are drawn."""
    centre: bool = False
    """Subtract each domain's mean from its features first (``--tune head``); the encoder keeps the means."""
    order: Literal["independent", "joint"] = "independent"
    """``independent`` shuffles each domain alone; ``joint`` is the loader of UCDIR's authors."""
    bank_rows: int = Field(131_072, ge=2)
    """Images of a domain up to which its features are held in memory and each has a row in the memory bank. Beyond
    it features stay on disk and are read in shuffled blocks, the bank holds a fixed sample of so many images, and
    clusters are learned on that; ``uem`` and ``clair`` then learn from the sample alone."""
    amp: bool = True
    """Compute an image tower that is trained in bfloat16 on a GPU."""


class Tuned(ABC):
    """What may change in a fit; one object serves all the trainings of the fit.

    Args:
        job: the fit.
        config: its settings.
        features: of the readable images of every domain, from the frozen backbone.
        views: inputs of the network, domain by domain.

    Attributes:
        catalogs: the readable images of every domain.
        joins: whether several trained networks make one encoder.
        keeps_features: whether the backbone's features stay what they were, so that more can be built on them.
        serves_text: whether the trained vectors stay in the space shared with text.
        means: of each domain, taken off its features first; empty where none are.
    """

    joins: ClassVar[bool] = False
    keeps_features: ClassVar[bool] = False
    serves_text: bool = False
    means: Mapping[str, Tensor] = MappingProxyType({})

    def __init__(
        self,
        job: FitJob,
        config: TunedConfig,
        features: Mapping[str, Features | StoredFeatures],
        views: Sequence[Views],
    ) -> None:
        self.job, self.config = job, config
        self._features = tuple(features[domain] for domain in job.domains)
        self.catalogs = tuple(found.catalog for found in self._features)
        self.views = tuple(views)

    @cached_property
    def features(self) -> tuple[Features, ...]:
        """Features of ``catalogs`` from the frozen backbone, in memory."""
        return tuple(found if isinstance(found, Features) else found.load() for found in self._features)

    @abstractmethod
    def new_network(self, seed: int) -> nn.Module:
        """A network to train, where the job computes; new weights are drawn from torch's global generator."""

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of all that ``network`` learns."""
        config, parameters = self.config, [p for p in network.parameters() if p.requires_grad]
        if config.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=config.lr, momentum=0.9, weight_decay=config.weight_decay)
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)

    @abstractmethod
    def forward(self, network: nn.Module, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Unit rows ``(B, d)`` of each domain's inputs ``(B, ...)``."""

    @abstractmethod
    def forward_keys(
        self, network: nn.Module, inputs: Sequence[Tensor], generator: torch.Generator
    ) -> Sequence[Tensor]:
        """The same of the momentum encoder in training, which must not recognise a batch by its statistics."""

    @abstractmethod
    def forward_centre(self, network: nn.Module, inputs: Tensor, domain: int) -> Tensor:
        """Unit rows ``(B, d)`` of one domain's centre views, of a network in evaluation."""

    @torch.no_grad()
    def centre_features(self, network: nn.Module, domain: int, images: Tensor | None = None) -> Tensor:
        """Unit rows ``(N, d)`` of the centre views of a domain, in evaluation.

        Args:
            network: as it is now.
            domain: its number.
            images: positions ``(R,)`` of some, of which every process embeds an equal part; all by default.
        """
        world = self.job.world
        with _evaluating(network):
            chunks = self.views[domain].centres(None if images is None else images[world.part(len(images))])
            rows = torch.cat([self.forward_centre(network, inputs, domain) for inputs in chunks])
        return rows if images is None else world.gather(rows)

    def features_before_training(self, domain: int, rows: Tensor) -> Tensor:
        """What is known of a domain's images before anything is learned, as unit rows ``(N, ...)``.

        Args:
            domain: its number.
            rows: what the untrained network makes of them, ``centre_features``.
        """
        return rows

    @abstractmethod
    def encoder(self, networks: Sequence[nn.Module], method: str, trained: Mapping[str, Any]) -> Encoder:
        """The encoder of a trained network; of several where it ``joins`` them."""

    def state(self, network: nn.Module) -> dict[str, Tensor]:
        """What a checkpoint keeps of a network."""
        return network.state_dict()

    def load_state(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave."""
        network.load_state_dict(state)


class TunedTogether(Tuned):
    """A network with a head, through which all domains pass in one batch, as in MoCo and UCDIR.

    Args:
        job: the fit.
        config: its settings.
        features: see ``Tuned``.
        views: see ``Tuned``.
        widths: hidden and output widths of the head.
    """

    def __init__(
        self,
        job: FitJob,
        config: TunedConfig,
        features: Mapping[str, Features | StoredFeatures],
        views: Sequence[Views],
        widths: Sequence[int],
    ) -> None:
        super().__init__(job, config, features, views)
        self.widths = tuple(widths)

    def forward(self, network: nn.Module, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """See ``Tuned``; all domains in one batch."""
        return self._rows(network, torch.cat(list(inputs))).split(len(inputs[0]))

    def forward_keys(
        self, network: nn.Module, inputs: Sequence[Tensor], generator: torch.Generator
    ) -> Sequence[Tensor]:
        """See ``Tuned``; the domains shuffled together, as MoCo and UCDIR do."""
        world = self.job.world
        network.train()
        if world.size == 1:
            keys = shuffled_forward(lambda x: self._rows(network, x), torch.cat(list(inputs)), generator)
        else:
            # What a shuffle does is to say who is normalised with whom; the other rows are with other processes.
            domains, size = len(inputs), len(inputs[0]) * world.size
            halves = halves_after_shuffle(domains * size, generator).view(domains, size)[:, world.part(size)]
            set_halves(network, halves.flatten())
            keys = self._rows(network, torch.cat(list(inputs)))
        return keys.split(len(inputs[0]))

    def forward_centre(self, network: nn.Module, inputs: Tensor, domain: int) -> Tensor:
        """See ``Tuned``."""
        return self._rows(network, inputs)

    def _rows(self, network: nn.Module, inputs: Tensor) -> Tensor:
        rows: Tensor = network(inputs)
        return rows.float()

    def _new_head(self) -> Head:
        return _head_for(self.job, self.config, self.widths)


class TunedHead(TunedTogether):
    """A head behind cached features; the backbone stays as it is.

    Args:
        job: the fit.
        config: its settings.
        head: widths in place of ``config.head``.
        serves_text: whether training keeps the head in the space shared with text.
    """

    joins = True
    keeps_features = True

    def __init__(
        self,
        job: FitJob,
        config: TunedConfig,
        head: Sequence[int] | None = None,
        *,
        serves_text: bool = False,
    ) -> None:
        features: dict[str, Features | StoredFeatures] = {
            domain: found if len(found.catalog) > config.bank_rows else found.load()
            for domain, found in job.stored_by_domain(config.views, config.augmentation).items()
        }
        if config.centre:
            self.means = {domain: _mean_of(found, config, job) for domain, found in features.items()}
        views = [_cached(features[domain], self.means.get(domain), job) for domain in job.domains]
        super().__init__(job, config, features, views, config.head if head is None else head)
        self.serves_text = serves_text

    def new_network(self, seed: int) -> nn.Module:
        """See ``Tuned``."""
        return placed(TunedNetwork(self._new_head()), self.job)

    def features_before_training(self, domain: int, rows: Tensor) -> Tensor:
        """See ``Tuned``; the head's inputs, which a new head scrambles."""
        return F.normalize(torch.cat(list(self.views[domain].centres())), dim=1)

    def encoder(self, networks: Sequence[nn.Module], method: str, trained: Mapping[str, Any]) -> Encoder:
        """See ``Tuned``."""
        heads = Heads([_copied_head(network) for network in networks], text=self.serves_text)
        return Encoder(self.job.backbone, [Centre(dict(self.means)), heads], method=method, trained=trained)


class _TunedBackbone(TunedTogether):
    """The backbone's tower and a head behind it, on images that are decoded and augmented on the fly."""

    def __init__(self, job: FitJob, config: TunedConfig) -> None:
        if config.centre:
            raise ConfigError("centre works on cached features; with --tune full leave it out")
        # Embedding them once finds the images that cannot be read before hours of training do.
        features = job.stored_by_domain()
        preprocess, device = job.backbone.preprocess, job.torch_device
        views = [
            ImageViews(features[domain].catalog.places, preprocess, config.augmentation, device, job.workers)
            for domain in job.domains
        ]
        super().__init__(job, config, features, views, config.head)

    def new_network(self, seed: int) -> nn.Module:
        """See ``Tuned``."""
        tower = copy.deepcopy(self.job.backbone.tower).requires_grad_(True)
        return placed(TunedNetwork(self._new_head(), tower), self.job)

    def encoder(self, networks: Sequence[nn.Module], method: str, trained: Mapping[str, Any]) -> Encoder:
        """See ``Tuned``."""
        network = networks[0]
        assert isinstance(network, TunedNetwork)
        assert network.tower is not None
        backbone = self.job.backbone
        backbone = backbone.with_tower(copy.deepcopy(backbone.tower))
        # Split batch normalisation is ordinary in evaluation, and has the same state.
        backbone.tower.load_state_dict(network.tower.state_dict())
        backbone.tower.eval().requires_grad_(False)
        tower, heads = TrainedTower(backbone.tower), Heads([_copied_head(network)])
        return Encoder(backbone, [tower, heads], method=method, trained=trained)

    def _rows(self, network: nn.Module, inputs: Tensor) -> Tensor:
        enabled = self.config.amp and inputs.device.type == "cuda"
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=enabled):
            return super()._rows(network, inputs)


HEAD_OR_BACKBONE: Mapping[Tune, type[TunedHead] | type[_TunedBackbone]] = {
    "head": TunedHead,
    "full": _TunedBackbone,
}
"""What most methods can change, by ``--tune``."""


class Member(NamedTuple):
    """One training of a fit.

    Attributes:
        seed: of everything random in it.
        checkpoint: its name.
        label: of its progress bar.
    """

    seed: int
    checkpoint: str
    label: str


def members_of(method: Method[Any], job: FitJob, kind: type[Tuned]) -> list[Member]:
    """The trainings of a fit, one a network.

    Args:
        method: with its settings.
        job: the fit.
        kind: of what changes, not made yet: what is asked for in vain is told before any image is embedded.

    Raises:
        TrainingError: for more or fewer domains than the method takes.
        ConfigError: for several members where they cannot be joined.
    """
    method.require_domains(job.domains)
    count = method.config.members
    if count == 1:
        return [Member(job.seed, "last", "training")]
    if not kind.joins or job.oracle is not None:
        raise ConfigError("several members need --tune head and no --oracle; add --set members=1")
    return [Member(1000 * job.seed + n, f"member-{n}", f"training head {n + 1} of {count}") for n in range(count)]


def placed(network: nn.Module, job: FitJob) -> nn.Module:
    """A network where the job computes, its batch normalisation shared by the processes of the job.

    Raises:
        TrainingError: when several processes cannot share it.
    """
    network = network.to(job.torch_device)
    if job.world.size > 1:
        replace_batch_norms(network, SharedBatchNorm2d, job.world.total)
        require_same_in_parts(network)
    return network


def _head_for(job: FitJob, config: TunedConfig, widths: Sequence[int]) -> Head:
    """A new head of these hidden and output widths, or the one that came with the backbone.

    Raises:
        ConfigError: when the backbone brings none.
    """
    if not config.pretrained_head:
        return Head((job.backbone.dim, *widths))
    given = getattr(job.backbone, "pretrained_head", None)
    if given is None:
        raise ConfigError(
            f"{job.backbone.name} brings no head of its own; use moco-v2:FILE or --set pretrained_head=false"
        )
    linear = [layer for layer in given if isinstance(layer, nn.Linear)]
    head = Head((linear[0].in_features, *(layer.out_features for layer in linear)), unit_inputs=False)
    head.layers.load_state_dict(given.state_dict())
    return head


def weighted_total(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """``sum_i w_i L_i`` over the terms whose weight is not 0."""
    return torch.stack([weight * loss for weight, loss in terms if weight]).sum()


def _mean_of(found: Features | StoredFeatures, config: TunedConfig, job: FitJob) -> Tensor:
    """The mean ``(D,)`` of a domain's centre views; of many, that of the sample of the memory bank."""
    if isinstance(found, Features):
        return torch.from_numpy(found.centre).mean(0)
    sample = BankSample.draw(len(found.catalog), config.bank_rows, job.seed, World())
    assert sample is not None
    chunks = StoredViews(found.rows, None, torch.device("cpu")).centres(sample.images)
    return torch.stack([chunk.sum(0) for chunk in chunks]).sum(0) / len(sample.images)


def _cached(found: Features | StoredFeatures, mean: Tensor | None, job: FitJob) -> Views:
    if isinstance(found, Features):
        return CachedViews(found.values, mean, job.torch_device)
    return StoredViews(found.rows, mean, job.torch_device)


def _copied_head(network: nn.Module) -> Head:
    assert isinstance(network, TunedNetwork)
    assert isinstance(network.head, Head)
    head = Head(network.head.sizes, unit_inputs=network.head.unit_inputs)
    head.load_state_dict(network.head.state_dict())
    return head


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
