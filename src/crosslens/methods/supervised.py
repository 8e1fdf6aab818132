"""A head trained with labels: the ceiling that methods without labels are held against, no rival of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.encoder.parts import Heads
from crosslens.methods.base import FitJob, Method, MethodConfig
from crosslens.nn.heads import Head
from crosslens.support.errors import TrainingError
from crosslens.training.batches import generator_for
from crosslens.training.loop import train


class SupervisedConfig(MethodConfig):
    """Settings of ``supervised``."""

    train_share: float = Field(0.5, gt=0, lt=1)
    """Share of each class and domain that is trained on; the rest is what ``evaluate`` measures."""
    epochs: int = Field(40, ge=1)
    """Passes over the images trained on."""
    batch_size: int = Field(128, ge=2)
    """Images a step."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate of AdamW, with a cosine."""
    weight_decay: float = Field(1e-2, ge=0)
    """Of AdamW."""
    head: tuple[int, ...] = (512, 128)
    """Hidden and output widths."""
    temperature: float = Field(0.1, gt=0)
    """Of the softmax over unit class vectors."""


class Supervised(Method[SupervisedConfig]):
    """Cross-entropy over unit class vectors on centre features of all domains together."""

    name = "supervised"
    summary = "a head trained with the labels of a part of the images: an upper bound, no rival of the others"
    Config = SupervisedConfig
    learns_from = frozenset({"images", "labels"})
    oracle_fact = "trained with the labels of a part of the images"

    def fit(self, job: FitJob) -> Encoder:
        """Train on ``train_share`` of the labelled images; the rest is listed in the run as held out.

        Raises:
            TrainingError: when fewer than two classes are labelled, when no image would be left to measure on, or
                under ``torchrun``.
        """
        if job.world.size > 1:
            raise TrainingError("supervised trains one small head; start it without torchrun")
        by_domain = job.features_by_domain()
        labels = np.array([label for f in by_domain.values() for label in f.catalog.labels], dtype=object)
        ids = np.array([image for f in by_domain.values() for image in f.catalog.ids])
        domains = np.array([d for d, f in by_domain.items() for _ in range(len(f.catalog))])
        known = np.array([label is not None for label in labels])
        classes = sorted(set(labels[known]))
        if len(classes) < 2:
            raise TrainingError("supervised needs labelled images of at least two classes")
        chosen = known & self._choose(labels, domains, job.seed)
        if not (known & ~chosen).any():
            raise TrainingError(
                "supervised trains on a part of each class's images in each domain and is measured on the others,"
                " but no class has two images in one domain"
            )
        job.run.write_held_out(ids[known & ~chosen].tolist())
        rows = torch.from_numpy(np.concatenate([f.centre for f in by_domain.values()]))[torch.from_numpy(chosen)]
        targets = torch.tensor([classes.index(label) for label in labels[chosen]])
        self._prepare(job, rows, targets, len(classes))
        train(self, job.run)
        facts = self.facts(job) | {"oracle": self.oracle_fact}
        return Encoder(job.backbone, [Heads([self.head])], method=self.name, trained=facts)

    def _choose(self, labels: np.ndarray, domains: np.ndarray, seed: int) -> np.ndarray:
        """The same share of every class in every domain; of two images or more, at least one on either side."""
        chosen = np.zeros(len(labels), dtype=bool)
        rng = np.random.default_rng(seed)
        for pair in sorted({(d, str(c)) for d, c in zip(domains, labels, strict=True)}):
            rows = np.flatnonzero((domains == pair[0]) & (labels == pair[1]))
            count = min(round(len(rows) * self.config.train_share), len(rows) - 1)
            chosen[rng.permutation(rows)[: max(1, count)]] = True
        return chosen

    def _prepare(self, job: FitJob, rows: Tensor, targets: Tensor, classes: int) -> None:
        torch.manual_seed(job.seed)
        self.rows, self.targets, self.seed = rows, targets, job.seed
        self.head = Head((job.backbone.dim, *self.config.head))
        self.vectors = nn.Parameter(torch.randn(classes, self.config.head[-1]))
        self.epochs = self.config.epochs
        self.batch = min(self.config.batch_size, len(rows))
        self.steps = len(rows) // self.batch
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            [*self.head.parameters(), self.vectors], lr=self.config.lr, weight_decay=self.config.weight_decay
        )

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Draw the epoch's order."""
        self.order = torch.randperm(len(self.rows), generator=generator_for(self.seed, epoch, -1))
        return {}

    def step(self, epoch: int, step: int) -> dict[str, Tensor]:
        """Cross-entropy of one batch."""
        chosen = self.order[step * self.batch : (step + 1) * self.batch]
        logits = self.head(self.rows[chosen]) @ F.normalize(self.vectors, dim=1).t() / self.config.temperature
        return {"total": F.cross_entropy(logits, self.targets[chosen])}

    def undo_step(self) -> None:
        """Nothing: a step changes nothing before the optimiser does."""

    def state(self) -> dict[str, Any]:
        """Head, class vectors, optimiser and the epoch's order."""
        return {
            "head": self.head.state_dict(),
            "vectors": self.vectors.detach(),
            "optimizer": self.optimizer.state_dict(),
            "order": getattr(self, "order", torch.empty(0, dtype=torch.int64)),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.head.load_state_dict(state["head"])
        self.vectors.data.copy_(state["vectors"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.order = state["order"]
