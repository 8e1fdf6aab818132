"""Learnable prompts in a frozen CLIP vision transformer (CLAIR, a reconstruction; placed as in CLIP-AT)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from crosslens.support.errors import ConfigError


class PromptShape(BaseModel):
    """How many prompts there are and where.

    Attributes:
        domains: each has a set of prompts of its own.
        domain_tokens: K_d, prompts of a domain.
        shared_tokens: K_g, the extra set that all domains share.
        depth: layers that prompts enter: 1 is the input alone; more replaces them by fresh ones before each of the
            next layers (deep prompts).
        norms: whether the affine parameters of layer normalisation are learned too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    domains: tuple[str, ...]
    domain_tokens: int = Field(3, ge=0)
    shared_tokens: int = Field(4, ge=0)
    depth: int = Field(1, ge=1)
    norms: bool = True


class PromptedTower(nn.Module):
    """A frozen CLIP image tower whose sequence is class token, patches, domain prompts, shared prompts.

    Prompts come after the position embedding, carry none, and pass the first layer normalisation with the rest;
    the result is read at index 0, the class token. Learned are the prompts and, if wanted, layer normalisation.

    Args:
        tower: ``backbones.clip.ImageTower`` of a CLIP; its weights are shared, not copied, apart from layer
            normalisation.
        shape: how many prompts.
        seed: of the prompts' start, N(0, 0.02^2).

    Raises:
        ConfigError: when the tower is no CLIP vision transformer with a class token, or has fewer layers than
            prompts are asked for.
    """

    def __init__(self, tower: nn.Module, shape: PromptShape, seed: int = 0) -> None:
        super().__init__()
        vision: Any = getattr(tower, "vision", None)
        if vision is None or not hasattr(vision, "pre_layrnorm"):
            raise ConfigError(
                "prompts go into the vision transformer of a CLIP (clip:PATH, openai-clip:FILE, open-clip:FILE);"
                " with another backbone use --tune head"
            )
        layers = len(vision.encoder.layers)
        if shape.depth > layers:
            raise ConfigError(f"prompts in {shape.depth} layers were asked for, and this transformer has {layers}")
        self.shape = shape
        frozen = {id(p): p for name, p in tower.named_parameters() if not _is_norm(name)}
        for parameter in frozen.values():
            parameter.requires_grad_(False)
        self.tower = copy.deepcopy(tower, dict(frozen))
        width = vision.embeddings.class_embedding.numel()
        generator = torch.Generator().manual_seed(seed)

        def fresh(tokens: int) -> nn.Parameter:
            return nn.Parameter(0.02 * torch.randn(shape.depth, tokens, width, generator=generator))

        self.own = nn.ParameterList([fresh(shape.domain_tokens) for _ in shape.domains])
        self.shared = fresh(shape.shared_tokens)
        for name, parameter in self.tower.named_parameters():
            parameter.requires_grad_(shape.norms and _is_norm(name))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains with prompts of their own."""
        return self.shape.domains

    def forward(self, images: Tensor, domain: int | None = None) -> Tensor:
        """Preprocessed images ``(N, 3, H, W)`` to embeddings ``(N, D)``, not normalised.

        Args:
            images: of one domain.
            domain: its position in ``domains``; None takes the mean of all domains' prompts.
        """
        sets = list(self.own)
        # Not torch's mean: in a folded ONNX graph its name meets that of the preprocessing's mean.
        own = sets[domain] if domain is not None else sum(sets[1:], sets[0]) / len(sets)
        prompts = torch.cat([own, self.shared], dim=1)
        vision: Any = self.tower.vision
        states = vision.embeddings(images)
        length, count = states.shape[1], prompts.shape[1]
        states = torch.cat([states, prompts[0].expand(states.shape[0], -1, -1)], dim=1)
        states = vision.pre_layrnorm(states)
        for number, layer in enumerate(vision.encoder.layers):
            if count and 0 < number < self.shape.depth:
                states = torch.cat([states[:, :length], prompts[number].expand(states.shape[0], -1, -1)], dim=1)
            found = layer(states, None)
            # Older releases of transformers give a tuple.
            states = found[0] if isinstance(found, tuple) else found
        projection: Any = self.tower.projection
        embedding: Tensor = projection(vision.post_layernorm(states[:, 0]))
        return embedding

    def for_domain(self, domain: str | None) -> nn.Module:
        """The tower with one domain's prompts, as a network of images alone; it shares all weights."""
        place = self.domains.index(domain) if domain in self.domains else None
        return _DomainTower(self, place)

    def learned(self) -> dict[str, Tensor]:
        """What training changes, by name, on the CPU."""
        return {
            name: value.detach().cpu()
            for name, value in self.state_dict().items()
            if not name.startswith("tower.") or (self.shape.norms and _is_norm(name))
        }

    def load_learned(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``learned`` gave.

        Raises:
            KeyError: when something is missing.
            RuntimeError: when a shape differs.
        """
        own = self.learned()
        if missing := [name for name in own if name not in state]:
            raise KeyError(missing[0])
        self.load_state_dict({name: state[name] for name in own}, strict=False)


class _DomainTower(nn.Module):
    """A prompted tower with the domain fixed: ``(N, 3, H, W)`` to ``(N, D)``."""

    def __init__(self, tower: PromptedTower, domain: int | None) -> None:
        super().__init__()
        self.prompted = tower
        self.domain = domain
        # The domain decides the features, so it belongs to the hash of the weights.
        self.register_buffer("place", torch.tensor(-1 if domain is None else domain))

    def forward(self, images: Tensor) -> Tensor:
        """Images to embeddings, not normalised."""
        embedding: Tensor = self.prompted(images, self.domain)
        return embedding


def _is_norm(name: str) -> bool:
    return any(
        part.startswith("layer_norm") or part in ("pre_layrnorm", "post_layernorm") for part in name.split(".")
    )
