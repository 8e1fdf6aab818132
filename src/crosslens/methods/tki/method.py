"""TKI (Yan et al., ICML 2024), a reconstruction: retrieval across domains learned from texts alone.

Only the paper's abstract was at hand; it names the two stages and their purposes. Every loss and number here comes
from its closest published relatives. No image is seen. t_n is the text feature of class n, tau a temperature.

**Stage 1, expansion** (``domain_words.py``). K word vectors w_k take the place of X in a prompt of a frozen text
tower: s_k is the feature of "a X style of a", u_kn that of "a X style of a <class n>". The words are to differ,
and what they describe to keep its class:

    L_div = mean |<s_k, s_j>| over other words j
    L_sem = - log softmax_n( <u_kn, t_n> / tau_e )
    L_1   = l_div L_div + l_sem L_sem

**Stage 2, aggregation** (``text_aggregation.py``). A projection Phi with hyperbolic layers takes all descriptions
into a ball of curvature -c and brings them, whatever their word, to the proxy p_n of their class:

    L_2 = - log softmax_n( - d_c(Phi(u_kn), p_n) / tau )

**Use**. Phi goes behind the frozen image tower, whose space the texts share; images rank by d_c.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint, ProjectionHead
from crosslens.methods.base import FitJob, Method
from crosslens.methods.tki.domain_words import DomainTexts, WordsConfig, expand
from crosslens.methods.tki.text_aggregation import AggregationConfig, aggregate
from crosslens.support.errors import ConfigError, RunError, TrainingError
from crosslens.support.files import atomic_path

_CENTRED = (
    "TKI (a reconstruction): domain words and a projection learned from class names, behind images of which the"
    " mean of their domain's unlabelled images is taken off"
)


class TKIConfig(WordsConfig, AggregationConfig):
    """Settings of TKI: those of the expansion (``WordsConfig``) and of the aggregation (``AggregationConfig``)."""

    # Open in the paper.
    class_vocabulary: Literal["seen", "all"] = "seen"
    """What becomes of the names of classes that are unseen (``--unseen``): ``seen`` leaves them out, ``all`` keeps
    them, which every result says. An open vocabulary is another file of names."""

    @property
    def keeps_unseen_names(self) -> bool:
        """See ``MethodConfig``."""
        return self.class_vocabulary == "all"

    @property
    def marks(self) -> tuple[str, ...]:
        """See ``MethodConfig``."""
        return ("transductive gallery mean, of each domain on its own",) if self.centre else ()


class TKI(Method[TKIConfig]):
    """TKI on the joint space of a vision-language backbone."""

    name = "tki"
    summary = (
        "TKI (a reconstruction): domain words and a projection learned from class names alone, without images"
    )
    Config = TKIConfig
    learns_from = frozenset({"names"})
    needs_images = False
    reconstruction_of = "TKI"

    def fit(self, job: FitJob) -> Encoder:
        """Learn domain words and the projection, resuming where the run stopped.

        Raises:
            ConfigError: for fewer than two class names, names that the tower cannot read, ``centre`` without
                images.
            BackboneError: for a backbone without a text tower.
            TrainingError: when a loss stops being finite, or for several processes.
        """
        if job.world.size > 1:
            raise TrainingError("tki trains in one process; start it without torchrun")
        if len(job.classes) < 2:
            raise ConfigError(
                f"tki tells classes apart, so it needs at least two class names, not {len(job.classes)}"
                " (--classes FILE, one a line)"
            )
        if self.config.centre and not len(job.catalog):
            raise ConfigError("centre takes the mean image of each domain away, so name the images: fit tki ROOT")
        texts, expanded = self._expand(job)
        projection, aggregated = aggregate(self.config, texts, seed=job.seed, run=job.run)
        return Encoder(
            job.backbone,
            [Joint(job.backbone), Centre(self._image_means(job)), ProjectionHead(projection)],
            method=self.name,
            trained=self.facts(job) | {"classes": list(job.classes), "texts": expanded | aggregated},
        )

    def facts(self, job: FitJob) -> dict[str, Any]:
        """What the model card says; with ``centre`` images were seen after all."""
        if not self.config.centre:
            return super().facts(job)
        return super().facts(job) | {"summary": _CENTRED}

    def _expand(self, job: FitJob) -> tuple[DomainTexts, dict[str, Any]]:
        """Domain words and texts, from ``RUN/words.safetensors`` where a run that stopped left them."""
        file = job.run.folder / "words.safetensors"
        if file.is_file():
            try:
                with safe_open(file, "pt") as stored:
                    tensors = {key: stored.get_tensor(key).to(job.torch_device) for key in stored.keys()}  # noqa: SIM118
                    facts: dict[str, Any] = json.loads(stored.metadata()["facts"])
                return DomainTexts(**tensors), facts
            except (OSError, SafetensorError, KeyError, TypeError) as error:
                raise RunError(f"{file} is damaged ({error}); delete it to make the texts again") from error
        found, facts = expand(
            self.config, job.backbone, job.classes, seed=job.seed, run=job.run, device=job.torch_device
        )
        about = {
            "backbone": job.backbone.name,
            "template": " | ".join(self.config.templates),
            "tokenizer": f"tokenizers {version('tokenizers')}, SHA-256 of the prompts' tokens {facts['tokens']}",
            "classes": json.dumps(job.classes),
            "seed": str(job.seed),
            "facts": json.dumps(facts),
        }
        with atomic_path(file) as temporary:
            save_file({key: value.contiguous().cpu() for key, value in vars(found).items()}, temporary, about)
        return found, facts

    def _image_means(self, job: FitJob) -> dict[str, Tensor]:
        if not self.config.centre:
            return {}
        return {
            domain: job.backbone.to_joint(torch.from_numpy(features.centre)).mean(0)
            for domain, features in job.features_by_domain().items()
        }
