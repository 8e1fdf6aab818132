"""What ``--tune prompts`` adds: prompts in a frozen CLIP vision transformer, trained with the same losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.features.load import Features
from crosslens.images.augment import Augmentation
from crosslens.labels.wording import look_of
from crosslens.methods.base import FitJob
from crosslens.methods.text_map import LooksConfig
from crosslens.methods.two_view import TwoViewMethod
from crosslens.nn.prompts import PromptedTower, PromptShape
from crosslens.training.views import ImageViews, Views

_LINES = ("sketch", "quickdraw")


class PromptConfig(LooksConfig):
    """Settings of ``--tune prompts``.

    Attributes:
        domain_tokens: prompts of each domain.
        shared_tokens: the extra set, shared by the domains and meant for new classes.
        prompt_depth: layers that prompts enter; 1 is the input alone.
        tune_norms: learn the affine parameters of layer normalisation too.
        norm_lr: their learning rate; ``lr`` is the prompts'.
        clip_norm: largest gradient norm of a step.
    """

    domain_tokens: int = Field(3, ge=0)
    shared_tokens: int = Field(4, ge=0)
    prompt_depth: int = Field(1, ge=1)
    tune_norms: bool = True
    norm_lr: float = Field(1e-5, gt=0)
    clip_norm: float = Field(1.0, gt=0)


class PromptNetwork(nn.Module):
    """A prompted tower with unit rows at its end: what is trained and what the momentum copies."""

    def __init__(self, tower: PromptedTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor, domain: int) -> Tensor:
        """Images ``(N, 3, H, W)`` of one domain to unit rows ``(N, J)``."""
        return F.normalize(self.tower(images, domain), dim=1)


class PromptTuning(TwoViewMethod):
    """A two-view method whose network may be a prompted tower: each domain passes alone, with its own prompts.

    There is no batch normalisation in a transformer, so keys need no shuffling.
    """

    def remember(self, by_domain: Mapping[str, Features]) -> None:
        """Called with the frozen features before training."""

    def _image_views(self, job: FitJob) -> tuple[Views, Views]:
        if job.tune != "prompts":
            return super()._image_views(job)
        by_domain = job.features_by_domain()
        self.remember(by_domain)
        self.catalogs = [by_domain[domain].catalog for domain in job.domains]
        views = [
            ImageViews(
                by_domain[domain].catalog.paths,
                job.backbone.preprocess,
                self._augmentation(domain),
                job.torch_device,
                job.workers,
            )
            for domain in job.domains
        ]
        return views[0], views[1]

    def _augmentation(self, domain: str) -> Augmentation:
        """The user's, else milder than MoCo's, and without colour on line drawings (specification 3.2)."""
        if "augmentation" in self.config.model_fields_set:
            return self.config.augmentation
        if look_of(domain, getattr(self.config, "looks", None)) in _LINES:
            return Augmentation(scale=(0.7, 1.0), jitter_p=0.0, grey_p=0.0)
        return Augmentation(scale=(0.5, 1.0))

    def _network(self, job: FitJob) -> Any:
        if job.tune != "prompts":
            return super()._network(job)
        config = self.config
        assert isinstance(config, PromptConfig)
        shape = PromptShape(
            domains=job.domains,
            domain_tokens=config.domain_tokens,
            shared_tokens=config.shared_tokens,
            depth=config.prompt_depth,
            norms=config.tune_norms,
        )
        return PromptNetwork(PromptedTower(job.backbone.tower, shape, self.seed))

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.job.tune != "prompts":
            return super()._optimizer()
        config = self.config
        assert isinstance(config, PromptConfig)
        learned = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        prompts = [p for name, p in learned if not name.startswith("tower.tower.")]
        norms = [p for name, p in learned if name.startswith("tower.tower.")]
        groups: list[dict[str, Any]] = [{"params": prompts, "lr": config.lr}]
        if norms:
            groups.append({"params": norms, "lr": config.norm_lr})
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        everything = [p for _, p in learned]

        def clip(*_: Any) -> None:
            nn.utils.clip_grad_norm_(everything, config.clip_norm)

        optimizer.register_step_pre_hook(clip)
        return optimizer

    def _queries(self, views: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        if self.job.tune != "prompts":
            return super()._queries(views)
        return self._each(self.network.train(), views)

    def _keys(self, views: tuple[Tensor, Tensor], epoch: int, step: int) -> Sequence[Tensor]:
        if self.job.tune != "prompts":
            return super()._keys(views, epoch, step)
        return self._each(self.slow.eval(), views)

    def _centre(self, domain: int, inputs: Tensor) -> Tensor:
        if self.job.tune != "prompts":
            return super()._centre(domain, inputs)
        return self._one(self.slow, inputs, domain)

    def _each(self, network: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
        return [self._one(network, inputs, domain) for domain, inputs in enumerate(views)]

    def _one(self, network: nn.Module, inputs: Tensor, domain: int) -> Tensor:
        enabled = self.config.amp and inputs.device.type == "cuda"
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=enabled):
            rows: Tensor = network(inputs, domain)
        return F.normalize(rows.float(), dim=1)

    def state(self) -> dict[str, Any]:
        """As every two-view method's; of a prompted tower only what training changes."""
        state = super().state()
        if self.job.tune == "prompts":
            for key, network in (("network", self.network), ("slow", self.slow)):
                state[key] = _tower(network).learned()
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        if self.job.tune == "prompts":
            state = dict(state)
            for key, network in (("network", self.network), ("slow", self.slow)):
                _tower(network).load_learned(state[key])
                state[key] = network.state_dict()
        super().load_state(state)

    def _encoder(self, network: nn.Module) -> Encoder:
        if self.job.tune != "prompts":
            return super()._encoder(network)
        return Encoder(
            self.job.backbone,
            method=self.name,
            space="joint",
            prompted=copy.deepcopy(_tower(network)),
            trained=self.facts(self.job),
        )


def _tower(network: nn.Module) -> PromptedTower:
    assert isinstance(network, PromptNetwork)
    return network.tower
