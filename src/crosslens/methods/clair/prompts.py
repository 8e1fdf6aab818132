"""What ``--tune prompts`` changes: prompts in a frozen CLIP vision transformer, trained with the same losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.encoder.parts import Joint, Prompts
from crosslens.images.augment import Augmentation
from crosslens.labels.wording import look_of
from crosslens.methods.base import FitJob
from crosslens.methods.text_map import LooksConfig
from crosslens.methods.tuned import Tuned, TunedConfig, placed
from crosslens.nn.prompts import PromptedTower, PromptShape
from crosslens.training.views import ImageViews

_LINES = ("sketch", "quickdraw")


class PromptConfig(TunedConfig, LooksConfig):
    """Settings of ``--tune prompts``; ``members`` must be 1 and ``centre`` does nothing there."""

    domain_tokens: int = Field(3, ge=0)
    """Prompts of each domain."""
    shared_tokens: int = Field(4, ge=0)
    """The extra set, shared by the domains and meant for new classes."""
    prompt_depth: int = Field(1, ge=1)
    """Layers that prompts enter; 1 is the input alone."""
    tune_norms: bool = True
    """Learn the affine parameters of layer normalisation too."""
    norm_lr: float = Field(1e-5, gt=0)
    """Their learning rate; ``lr`` is the prompts'."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest gradient norm of a step with prompts."""


class _PromptNetwork(nn.Module):
    """A prompted tower with unit rows at its end: what is trained and what the momentum copies."""

    def __init__(self, tower: PromptedTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor, domain: int) -> Tensor:
        """Images ``(N, 3, H, W)`` of one domain to unit rows ``(N, J)``."""
        return F.normalize(self.tower(images, domain), dim=1)


class TunedPrompts(Tuned):
    """Prompts in a frozen tower: each domain passes alone, with its own prompts.

    There is no batch normalisation in a transformer, so keys need no shuffling.
    """

    serves_text = True

    def __init__(self, job: FitJob, config: PromptConfig) -> None:
        features = job.features_by_domain()
        views = [
            ImageViews(
                features[domain].catalog.paths,
                job.backbone.preprocess,
                _augmentation(config, domain),
                job.torch_device,
                job.workers,
            )
            for domain in job.domains
        ]
        super().__init__(job, config, features, views)
        self.prompts = config

    @staticmethod
    def stays_joint(config: PromptConfig) -> bool:
        """Whether they will serve texts, asked before they are made: they end in the space shared with text."""
        return True

    def new_network(self, seed: int) -> nn.Module:
        """See ``Tuned``."""
        shape = PromptShape(
            domains=self.job.domains,
            domain_tokens=self.prompts.domain_tokens,
            shared_tokens=self.prompts.shared_tokens,
            depth=self.prompts.prompt_depth,
            norms=self.prompts.tune_norms,
        )
        return placed(_PromptNetwork(PromptedTower(self.job.backbone.tower, shape, seed)), self.job)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """AdamW without decay; the norms have a learning rate of their own."""
        learned = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        prompts = [p for name, p in learned if not name.startswith("tower.tower.")]
        norms = [p for name, p in learned if name.startswith("tower.tower.")]
        groups: list[dict[str, Any]] = [{"params": prompts, "lr": self.prompts.lr}]
        if norms:
            groups.append({"params": norms, "lr": self.prompts.norm_lr})
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        everything = [p for _, p in learned]

        def clip(*_: Any) -> None:
            nn.utils.clip_grad_norm_(everything, self.prompts.clip_norm)

        optimizer.register_step_pre_hook(clip)
        return optimizer

    def forward(self, network: nn.Module, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """See ``Tuned``."""
        return [self.forward_centre(network, images, domain) for domain, images in enumerate(inputs)]

    def forward_keys(
        self, network: nn.Module, inputs: Sequence[Tensor], generator: torch.Generator
    ) -> Sequence[Tensor]:
        """See ``Tuned``."""
        return self.forward(network.eval(), inputs)

    def forward_centre(self, network: nn.Module, inputs: Tensor, domain: int) -> Tensor:
        """See ``Tuned``."""
        enabled = self.prompts.amp and inputs.device.type == "cuda"
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=enabled):
            rows: Tensor = network(inputs, domain)
        return F.normalize(rows.float(), dim=1)

    def encoder(self, networks: Sequence[nn.Module], method: str, trained: Mapping[str, Any]) -> Encoder:
        """See ``Tuned``."""
        prompts, joint = Prompts(copy.deepcopy(_tower(networks[0]))), Joint(self.job.backbone)
        return Encoder(self.job.backbone, [prompts, joint], method=method, trained=trained)

    def state(self, network: nn.Module) -> dict[str, Tensor]:
        """What training changes of the tower."""
        return _tower(network).learned()

    def load_state(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave."""
        _tower(network).load_learned(state)


def _augmentation(config: PromptConfig, domain: str) -> Augmentation:
    """The user's, else milder than MoCo's, and without colour on line drawings."""
    if "augmentation" in config.model_fields_set:
        return config.augmentation
    if look_of(domain, config.looks) in _LINES:
        return Augmentation(scale=(0.7, 1.0), jitter_p=0.0, grey_p=0.0)
    return Augmentation(scale=(0.5, 1.0))


def _tower(network: nn.Module) -> PromptedTower:
    assert isinstance(network, _PromptNetwork)
    return network.tower
