"""TKI's first stage: domain word vectors that pull varied descriptions of every class out of a text tower.

PromptStyler's recipe, since TKI's own is not public: words are learned one after the other against those before
(``sequential``), or all at once (``joint``), which costs a fraction and reaches the same end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from crosslens.backbones.base import Backbone
from crosslens.backbones.prompts import HOLE, MeanPrompts, WordPrompts, word_prompts
from crosslens.backbones.reading import require_readable
from crosslens.labels.wording import clean_name
from crosslens.losses.text import consistency, diversity
from crosslens.methods.base import MethodConfig
from crosslens.support.errors import ConfigError, TrainingError
from crosslens.support.progress import progress
from crosslens.training.batches import generator_for
from crosslens.training.loop import train
from crosslens.training.run import Run
from crosslens.training.schedules import SCHEDULES, constant

_CLASS = "{class}"
_ENCODED_AT_ONCE = 256


class WordsConfig(MethodConfig):
    """Settings of the expansion."""

    # Open in the paper, which has words that are learned; these are PromptStyler's.
    words: int = Field(80, ge=1)
    """K, domain words to learn."""
    template: str | tuple[str, ...] = f"a {HOLE} style of a {_CLASS}"
    """A prompt with ``X`` for the domain word and ``{class}`` for the class; of several the mean feature is taken,
    as of CLIP's prompt ensembles."""
    iterations: int = Field(100, ge=1)
    """A word, in sequential training."""
    word_std: float = Field(0.02, gt=0)
    """Entries are drawn from N(0, word_std^2), as CLIP's own table was."""
    diversity_weight: float = Field(1.0, ge=0)
    """Of the words' distance from each other."""
    consistency_weight: float = Field(1.0, ge=0)
    """Of the nearness of a description to its class."""
    consistency_temperature: float = Field(1.0, gt=0)
    """tau_e, of that nearness."""

    # What this project adds: training all words at once, in seconds, and controls.
    learn: Literal["joint", "sequential", "random"] = "joint"
    """``joint`` learns all words together, ``sequential`` one after the other; ``random`` leaves them as they were
    drawn, a control."""
    given: tuple[str, ...] = ()
    """Words written by hand (``sketch``, ``oil painting``) instead of learned ones, a control."""
    steps: int = Field(150, ge=1)
    """Of the joint training."""
    words_per_step: int = Field(8, ge=1)
    """Of the joint training."""
    classes_per_step: int = Field(4, ge=0)
    """Names drawn a step; 0 takes all, as PromptStyler does."""
    gram: Literal["bank", "full"] = "bank"
    """The other words' features that a word of the joint training is held against: the latest ones from a
    ``bank``, or those of all words computed in each step (``full``), which also learn from it."""
    word_lr: float | None = Field(None, gt=0)
    """Learning rate of the words; None takes 0.005 of Adam in joint training and 0.002 of SGD with momentum 0.9 in
    sequential training, which starts anew for every word."""
    word_schedule: Literal["cosine", "constant"] = "cosine"
    """Of the joint training's learning rate; the other's is constant."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates, also where there is one."""
        return (self.template,) if isinstance(self.template, str) else self.template


@dataclass(frozen=True)
class DomainTexts:
    """What the expansion gives.

    Attributes:
        words: ``(K, D_w)`` vectors W.
        domains: ``(K, D)`` unit class-free features s.
        texts: ``(K, N, D)`` unit domain-class features u.
        classes: ``(N, D)`` unit class features t.
        kept: ``(K,)`` share of the N classes whose text under a word is still nearest to its own class.
    """

    words: Tensor
    domains: Tensor
    texts: Tensor
    classes: Tensor
    kept: Tensor

    @property
    def spread(self) -> float:
        """Mean absolute cosine between the class-free features of different words; 0 for one word."""
        return float(diversity(self.domains, self.domains, torch.arange(len(self.domains))))


def expand(
    config: WordsConfig,
    backbone: Backbone,
    names: Sequence[str],
    *,
    seed: int,
    run: Run | None = None,
    device: torch.device | None = None,
) -> tuple[DomainTexts, dict[str, Any]]:
    """Learn (draw, look up) the domain words and describe every class with each of them.

    Args:
        config: how.
        backbone: with a text tower.
        names: N class names.
        seed: of initial vectors and batches.
        run: where training is logged and checkpointed; without one nothing is trained (``random``, ``given``).
        device: where to compute.

    Returns:
        The texts, and what the model card says about them.

    Raises:
        ConfigError: for names or given words that the tower cannot read, for two names that are one, or a
            template without its two places.
        TrainingError: when a loss stops being finite.
    """
    templates = config.templates
    if not templates or any(one.split().count(HOLE) != 1 or _CLASS not in one for one in templates):
        raise ConfigError(f"the template needs the word {HOLE} and {_CLASS}, as 'a {HOLE} style of a {_CLASS}'")
    place = device or torch.device("cpu")
    spoken = [_spoken(name) for name in names]
    require_readable(backbone, names, "class name(s)")
    require_readable(backbone, config.given, "given word(s)")
    _require_different(names)
    classes = backbone.embed_texts(spoken).to(place)
    prompts = MeanPrompts.of(
        [
            word_prompts(backbone, [*(one.replace(_CLASS, name) for name in spoken), domain_prompt(one)], place)
            for one in templates
        ]
    )
    if config.given:
        words = torch.stack([prompts.word_vector(word) for word in config.given]).to(place)
    else:
        words = torch.randn(config.words, prompts.width, generator=generator_for(seed, -1, -1)).to(place)
        words *= config.word_std
    facts: dict[str, Any] = {"words": len(words)}
    if _trains(config):
        assert run is not None
        # Some words tell how well drawn ones keep the class.
        before = _describe(prompts, words[:4], classes, "describing classes")
        facts |= {"kept_before": float(before.kept.mean()), "spread_before": _spread(prompts, words)}
        kind = JointWords if config.learn == "joint" else SequentialWords
        words = kind(config, prompts, words, classes, seed).run(run)
    found = _describe(prompts, words, classes, f"describing {len(names)} classes")
    if not torch.isfinite(found.texts).all():
        raise TrainingError("the domain words gave texts that are not finite; lower --set word_lr or word_std")
    facts |= {"kept": float(found.kept.mean()), "spread": found.spread}
    return found, {key: round(value, 4) for key, value in facts.items()} | {"tokens": prompts.tokens[:16]}


def domain_prompt(template: str) -> str:
    """The class-free prompt: what stands before the class, or else the template without it."""
    before, _, after = template.partition(_CLASS)
    return before.strip() if HOLE in before.split() else " ".join(after.split())


def _require_different(names: Sequence[str]) -> None:
    """Refuse names that are one when cleaned: ``hot dog`` and ``hot_dog`` would be two proxies at one place.

    Raises:
        ConfigError: naming the first two.
    """
    seen: dict[str, str] = {}
    for name in names:
        plain = clean_name(name).casefold()
        if plain in seen:
            raise ConfigError(f"the classes {seen[plain]!r} and {name!r} are the same words; name the class once")
        seen[plain] = name


def _spoken(name: str) -> str:
    """A name as a prompt says it; a word of it that looks like the hole is written small, which reads the same."""
    return " ".join(HOLE.lower() if part == HOLE else part for part in name.replace("_", " ").split())


def _trains(config: WordsConfig) -> bool:
    return config.learn != "random" and not config.given


@torch.no_grad()
def _spread(prompts: WordPrompts, words: Tensor) -> float:
    domains = prompts.embed(words, torch.tensor([len(prompts.texts) - 1]))[:, 0]
    return float(diversity(domains, domains, torch.arange(len(words))))


@torch.no_grad()
def _describe(prompts: WordPrompts, words: Tensor, classes: Tensor, label: str) -> DomainTexts:
    count = len(classes)
    domains = prompts.embed(words, torch.tensor([count]))[:, 0]
    texts = torch.empty(len(words), count, prompts.dim, device=classes.device)
    # Short prompts together: a batch is as long as its longest.
    order = prompts.lengths[:count].argsort(stable=True)
    with progress(len(words), label) as advance:
        for number, word in enumerate(words):
            for chosen in order.split(_ENCODED_AT_ONCE):
                texts[number, chosen.to(texts.device)] = prompts.embed(word[None], chosen)[0]
            advance()
    nearest = (texts @ classes.t()).argmax(2)
    kept = (nearest == torch.arange(count, device=nearest.device)).float().mean(1)
    return DomainTexts(words, domains, texts, classes, kept)


class WordTraining:
    """What both ways of learning words share; a ``Trainable`` of the training loop."""

    epochs: int
    steps: int
    optimizer: torch.optim.Optimizer

    def __init__(
        self, config: WordsConfig, prompts: WordPrompts, words: Tensor, classes: Tensor, seed: int
    ) -> None:
        self.config, self.prompts, self.classes, self.seed = config, prompts, classes, seed
        self.words = words.clone()

    def losses(self, features: Tensor, others: Tensor, own: Tensor | None, texts: Tensor, index: Tensor) -> Any:
        """Losses of words whose class-free features are ``(B, D)``, and of some whose texts are ``(A, M, D)``."""
        apart = diversity(features, others, own)
        kept = consistency(
            texts.flatten(0, 1),
            self.classes,
            index.to(texts.device).repeat(len(texts)),
            self.config.consistency_temperature,
        )
        total = self.config.diversity_weight * apart + self.config.consistency_weight * kept
        return {"total": total, "diversity": apart, "consistency": kept}

    def draw_classes(self, epoch: int, step: int) -> Tensor:
        """The classes of one step ``(M,)``: all, or ``classes_per_step`` at random."""
        count, wanted = len(self.classes), self.config.classes_per_step
        if not wanted or wanted >= count:
            return torch.arange(count)
        return torch.randperm(count, generator=generator_for(self.seed + 1, epoch, step))[:wanted]


class JointWords(WordTraining):
    """All words at once: each step takes some words and some classes (BatStyler's order of things).

    A word is held against the features of all others: the latest ones, kept in a bank, or with ``gram="full"`` all
    of them anew.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.per_step = min(self.config.words_per_step, len(self.words))
        self.steps = max(1, len(self.words) // self.per_step)
        self.epochs = max(1, self.config.steps // self.steps)
        self.vectors = nn.Parameter(self.words)
        self.optimizer = torch.optim.Adam([self.vectors], lr=self.config.word_lr or 5e-3)
        self._free = torch.tensor([len(self.classes)])
        with torch.no_grad():
            self.bank = self.prompts.embed(self.vectors, self._free)[:, 0]

    def run(self, run: Run) -> Tensor:
        """Train to the end and give the words ``(K, D_w)``."""
        schedule = SCHEDULES[self.config.word_schedule]
        train(self, run, name="words", label="learning domain words", schedule=schedule, rate_key="word_lr")
        return self.vectors.detach()

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Nothing to prepare."""
        return {}

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """One step's losses; writes the bank."""
        order = torch.randperm(len(self.words), generator=generator_for(self.seed, epoch, -1))
        chosen = order[step * self.per_step : (step + 1) * self.per_step].to(self.vectors.device)
        classes = self.draw_classes(epoch, step)
        texts = self.prompts.embed(self.vectors[chosen], classes)
        if self.config.gram == "full":
            features = others = self.prompts.embed(self.vectors, self._free)[:, 0]
            chosen = torch.arange(len(features), device=features.device)
        else:
            features = self.prompts.embed(self.vectors[chosen], self._free)[:, 0]
            others = self.bank
            with torch.no_grad():
                self._before = chosen, others[chosen]
                others[chosen] = features.detach()
        losses: Mapping[str, Tensor] = self.losses(features, others, chosen, texts, classes)
        return losses

    def undo_step(self) -> None:
        """Put the bank's rows back."""
        if self.config.gram != "full":
            index, rows = self._before
            self.bank[index] = rows

    def state(self) -> dict[str, Any]:
        """Vectors, bank and optimiser."""
        return {"vectors": self.vectors.detach(), "bank": self.bank, "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        with torch.no_grad():
            self.vectors.copy_(state["vectors"])
        self.bank.copy_(state["bank"])
        self.optimizer.load_state_dict(state["optimizer"])


class SequentialWords(WordTraining):
    """One word after the other, each with an optimiser of its own, against the words before it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.epochs, self.steps = len(self.words), self.config.iterations
        self.features = torch.zeros(len(self.words), self.prompts.dim, device=self.words.device)
        self._free = torch.tensor([len(self.classes)])
        self._current = 0
        self._begin(0)

    def run(self, run: Run) -> Tensor:
        """Train to the end and give the words ``(K, D_w)``."""
        train(self, run, name="words", label="learning domain words", schedule=constant, rate_key="word_lr")
        self._settle()
        return self.words

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Keep the word before and begin with this one."""
        if epoch:
            self._settle()
        self._begin(epoch)
        return {}

    def step(self, epoch: int, step: int) -> Mapping[str, Tensor]:
        """One iteration of one word."""
        classes = self.draw_classes(epoch, step)
        both = self.prompts.embed(self.vector, torch.cat([classes, self._free]))
        found: Mapping[str, Tensor] = self.losses(
            both[:, -1], self.features[: self._current], None, both[:, :-1], classes
        )
        return found

    def undo_step(self) -> None:
        """Nothing: a step changes nothing before the optimiser does."""

    def state(self) -> dict[str, Any]:
        """Words and features so far, the word in work and its optimiser."""
        return {
            "words": self.words,
            "features": self.features,
            "vector": self.vector.detach(),
            "current": self._current,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.words.copy_(state["words"])
        self.features.copy_(state["features"])
        self._begin(int(state["current"]))
        with torch.no_grad():
            self.vector.copy_(state["vector"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _begin(self, number: int) -> None:
        self._current = number
        self.vector = nn.Parameter(self.words[number : number + 1].clone())
        self.optimizer = torch.optim.SGD([self.vector], lr=self.config.word_lr or 0.002, momentum=0.9)

    @torch.no_grad()
    def _settle(self) -> None:
        self.words[self._current] = self.vector[0]
        self.features[self._current] = self.prompts.embed(self.vector, self._free)[0, 0]
