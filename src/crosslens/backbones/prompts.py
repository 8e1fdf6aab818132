"""Prompts with holes: learnable vectors take the place of words in a frozen text tower's input.

``a X style of a {class}`` is tokenised once per class; the vector of X is then given by whoever learns it, and
gradients flow to it alone. With several holes (``X X X X {class}``) each has a vector of its own. What does not
change the result is not computed: positions behind the end of a text, and in CLIP's causal tower the common
beginning of all prompts, once a word instead of once a class.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones.base import Backbone
from crosslens.backbones.clip import ClipBackbone
from crosslens.backbones.lite import SentenceBackbone
from crosslens.support.errors import BackboneError, ConfigError

HOLE = "X"
"""Where the learned word stands in a template."""

_STAND_INS = ("x", "q")


class WordPrompts(ABC):
    """N prompts of a text tower, each with as many holes.

    Attributes:
        width: D_w, the length of a word vector.
        dim: D, the length of a text vector.
        texts: the prompts, with ``X`` in the holes.
        lengths: tokens a prompt has, with its start and end.
    """

    width: int
    dim: int
    texts: tuple[str, ...]
    lengths: Tensor

    @abstractmethod
    def embed(self, words: Tensor, prompts: Tensor) -> Tensor:
        """Every word in every prompt chosen.

        Args:
            words: ``(B, D_w)``, or ``(B, H, D_w)`` for H holes; the only input that gradients reach.
            prompts: ``(M,)`` positions in ``texts``.

        Returns:
            ``(B, M, D)`` unit rows in the space shared with images.
        """

    @abstractmethod
    def word_vector(self, word: str) -> Tensor:
        """The tower's own input vector ``(D_w,)`` of a word; the mean where it has several tokens."""

    @property
    @abstractmethod
    def tokens(self) -> str:
        """SHA-256 of the token numbers ``(N, L)``: which tokenizer read the prompts, whatever its version says."""


def word_prompts(
    backbone: Backbone, texts: Sequence[str], device: torch.device | None = None, holes: int = 1
) -> WordPrompts:
    """Prompts for the text tower of ``backbone``.

    Args:
        backbone: ``lite`` or a CLIP.
        texts: prompts with the word ``X`` in each.
        device: where to compute.
        holes: how often.

    Raises:
        BackboneError: when the backbone has no text tower that is known here.
        ConfigError: for a prompt without its holes of one token each, or one that fills the tower's whole
            context.
    """
    place = device or torch.device("cpu")
    if isinstance(backbone, SentenceBackbone):
        return _SentencePrompts(backbone, texts, place, holes)
    if isinstance(backbone, ClipBackbone) and backbone.is_causal:
        return CausalPrompts(backbone, texts, place, holes)
    raise BackboneError(
        f"learned words can be put into the text tower of lite and of CLIP, not of {backbone.name};"
        " use --backbone lite, clip:PATH, openai-clip:FILE or open-clip:FILE"
    )


class MeanPrompts(WordPrompts):
    """Several templates' prompts of the same N texts as one: the mean of their features, of unit length.

    Args:
        templates: prompts of one tower, N each, in the same order.
    """

    def __init__(self, templates: Sequence[WordPrompts]) -> None:
        self._templates = templates
        self.width, self.dim, self.texts = templates[0].width, templates[0].dim, templates[0].texts
        self.lengths = torch.stack([one.lengths for one in templates]).amax(0)

    @classmethod
    def of(cls, templates: Sequence[WordPrompts]) -> WordPrompts:
        """Those of the only template, or the mean of several."""
        return templates[0] if len(templates) == 1 else cls(templates)

    def embed(self, words: Tensor, prompts: Tensor) -> Tensor:
        """See ``WordPrompts``."""
        return F.normalize(torch.stack([one.embed(words, prompts) for one in self._templates]).mean(0), dim=2)

    def word_vector(self, word: str) -> Tensor:
        """See ``WordPrompts``."""
        return self._templates[0].word_vector(word)

    @property
    def tokens(self) -> str:
        """See ``WordPrompts``."""
        return " ".join(one.tokens for one in self._templates)


class _SentencePrompts(WordPrompts):
    """Prompts of MiniLM (``lite``), which looks both ways: only padding can be left out."""

    def __init__(
        self, backbone: SentenceBackbone, texts: Sequence[str], device: torch.device, holes: int = 1
    ) -> None:
        tokenizer, self._model = backbone.text_tower.tokenizer, _on(backbone.text_tower.model, device)
        self._place = backbone.place_texts
        self._tokenizer = tokenizer
        self.width = self._model.config.hidden_size
        self.dim = backbone.joint_dim or 0
        self.texts = tuple(texts)

        def numbers(given: Sequence[str]) -> list[list[int]]:
            found: list[list[int]] = tokenizer(list(given), truncation=True, max_length=256)["input_ids"]
            return found

        ids, self._holes, self.lengths = find_holes(self.texts, numbers, 256, holes)
        self._ids, self._holes = ids.to(device), self._holes.to(device)

    def embed(self, words: Tensor, prompts: Tensor) -> Tensor:
        """See ``WordPrompts``."""
        longest = int(self.lengths[prompts].max())
        chosen = prompts.to(self._ids.device)
        table = self._model.get_input_embeddings()
        inputs = table(self._ids[chosen, :longest]).detach().expand(len(words), -1, -1, -1)
        inputs = put_words(inputs, words, self._holes[chosen]).flatten(0, 1)
        mask = torch.arange(longest) < self.lengths[prompts][:, None]
        mask = mask.to(inputs.device).repeat(len(words), 1)
        states = self._model(inputs_embeds=inputs, attention_mask=mask.long()).last_hidden_state
        weights = mask.unsqueeze(2).float()
        rows = F.normalize((states * weights).sum(1) / weights.sum(1), dim=1)
        return self._place(rows).unflatten(0, (len(words), len(prompts)))

    def word_vector(self, word: str) -> Tensor:
        """See ``WordPrompts``."""
        ids = self._tokenizer(word, add_special_tokens=False)["input_ids"]
        rows: Tensor = self._model.get_input_embeddings().weight[torch.tensor(ids)]
        return rows.detach().mean(0)

    @property
    def tokens(self) -> str:
        """See ``WordPrompts``."""
        return _digest(self._ids)


class CausalPrompts(WordPrompts):
    """Prompts of CLIP's text tower, which looks to the left alone and reads its result at the end token.

    Tokens behind the end never matter, so the context is as long as the longest prompt. The beginning that all
    prompts share (``a X style of a``) is computed once a word, and its keys and values serve every class. Both
    are exact.
    """

    def __init__(self, backbone: ClipBackbone, texts: Sequence[str], device: torch.device, count: int = 1) -> None:
        tower: Any = _on(backbone.text_tower, device)
        self._text, self._projection = tower.text, tower.projection
        self._backbone = backbone
        embeddings = self._text.embeddings
        self._table, self._positions = embeddings.token_embedding, embeddings.position_embedding.weight
        self._heads = self._text.config.num_attention_heads
        self.width = self._table.embedding_dim
        self.dim = backbone.dim
        self.texts = tuple(texts)
        context = len(self._positions)

        def numbers(given: Sequence[str]) -> list[list[int]]:
            rows = backbone.token_numbers(given)
            ends = backbone.end_positions(rows)
            return [row[: end + 1] for row, end in zip(rows.tolist(), ends.tolist(), strict=True)]

        ids, holes, self.lengths = find_holes(self.texts, numbers, context, count)
        self._ids, self._holes = ids.to(device), holes.to(device)
        self._shared = _common_beginning(ids, self.lengths)

    def embed(self, words: Tensor, prompts: Tensor) -> Tensor:
        """See ``WordPrompts``."""
        chosen = prompts.to(self._ids.device)
        longest, shared = int(self.lengths[prompts].max()), self._shared
        inputs = self._table(self._ids[chosen, :longest]).detach().expand(len(words), -1, -1, -1)
        inputs = put_words(inputs, words, self._holes[chosen]) + self._positions[:longest].detach()
        # All prompts begin alike, so the first one's beginning stands for all.
        first, rest = inputs[:, :1, :shared], inputs[:, :, shared:]
        seen = torch.ones(longest, longest, dtype=torch.bool, device=inputs.device).tril()
        for layer in self._text.encoder.layers:
            keys, values, first_out = self._attend(layer, first, None, seen[:shared, :shared])
            first, before = first + first_out, (keys, values)
            first = first + layer.mlp(layer.layer_norm2(first))
            rest = rest + self._attend(layer, rest, before, seen[shared:])[2]
            rest = rest + layer.mlp(layer.layer_norm2(rest))
        ends = (self.lengths[prompts] - 1 - shared).to(inputs.device)
        states = rest[:, torch.arange(len(prompts), device=inputs.device), ends]
        return F.normalize(self._projection(self._text.final_layer_norm(states)), dim=2)

    def _attend(
        self, layer: Any, states: Tensor, before: tuple[Tensor, Tensor] | None, seen: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attention of ``states (B, M, L, D_w)`` to themselves and to what comes ``before`` them.

        Returns:
            Keys and values ``(B, M, heads, L, d)`` of the states, and the result ``(B, M, L, D_w)``.
        """
        attention, normal = layer.self_attn, layer.layer_norm1(states)

        def split(rows: Tensor) -> Tensor:
            return rows.unflatten(3, (self._heads, -1)).transpose(2, 3)

        queries, keys, values = (
            split(linear(normal)) for linear in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        all_keys, all_values = keys, values
        if before is not None:
            earlier = [part.expand(-1, states.shape[1], -1, -1, -1) for part in before]
            all_keys = torch.cat([earlier[0], keys], dim=3)
            all_values = torch.cat([earlier[1], values], dim=3)
        mixed = F.scaled_dot_product_attention(queries, all_keys, all_values, attn_mask=seen)
        result: Tensor = attention.out_proj(mixed.transpose(2, 3).flatten(3))
        return keys, values, result

    def word_vector(self, word: str) -> Tensor:
        """See ``WordPrompts``."""
        row = self._backbone.token_numbers([word])[0]
        end = int(self._backbone.end_positions(row[None])[0])
        return self._table.weight[row[1:end]].detach().mean(0)

    @property
    def tokens(self) -> str:
        """See ``WordPrompts``."""
        return _digest(self._ids)


def find_holes(texts: Sequence[str], numbers: Any, context: int, count: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Tokenise prompts and find their holes, by trying two words in them.

    Args:
        texts: prompts with ``X`` in each, as a word of its own.
        numbers: texts to lists of token numbers, without padding.
        context: the most tokens that the tower takes.
        count: H, how often ``X`` stands in each.

    Returns:
        Token numbers ``(N, L)``, padded with 0; positions of the holes ``(N, H)``; lengths ``(N,)``.

    Raises:
        ConfigError: for a prompt whose holes are not one token each, or that does not fit into the context.
    """
    for text in texts:
        if text.split().count(HOLE) != count:
            often = "once" if count == 1 else f"{count} times"
            raise ConfigError(
                f"a template needs the word {HOLE} {often}, where the learned word goes, not {text!r}"
            )
    fillings = [numbers([_filled(text, word) for text in texts]) for word in _STAND_INS]
    rows, holes = [], []
    for text, first, second in zip(texts, *fillings, strict=True):
        places = [i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b]
        if len(first) != len(second) or len(places) != count:
            raise ConfigError(
                f"the hole in {text!r} is not one token of this text tower; put spaces around {HOLE}"
            )
        if len(first) >= context:
            raise ConfigError(
                f"{text!r} fills the text tower's whole context of {context} tokens; shorten the name"
            )
        rows.append(torch.tensor(first))
        holes.append(places)
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(holes), lengths


def put_words(inputs: Tensor, words: Tensor, holes: Tensor) -> Tensor:
    """Put words b ``(B, H, D_w)``, or ``(B, D_w)``, into the holes ``(M, H)`` of ``inputs (B, M, L, D_w)``."""
    positions = torch.arange(inputs.shape[2], device=inputs.device)
    for number, word in enumerate((words[:, None] if words.ndim == 2 else words).unbind(1)):
        here = positions == holes[:, number, None]
        inputs = torch.where(here[None, :, :, None], word[:, None, None, :], inputs)
    return inputs


def _digest(ids: Tensor) -> str:
    return hashlib.sha256(repr(ids.tolist()).encode()).hexdigest()


def _on(model: Any, device: torch.device) -> Any:
    """The model on a device; a copy where that is not the CPU, since the backbone's own stays at home."""
    return model if device.type == "cpu" else copy.deepcopy(model).to(device)


def _filled(text: str, word: str) -> str:
    return " ".join(word if part == HOLE else part for part in text.split())


def _common_beginning(ids: Tensor, lengths: Tensor) -> int:
    """How many tokens all prompts share at their beginning, the last token of none among them."""
    most = int(lengths.min()) - 1
    same = (ids[:, :most] == ids[:1, :most]).all(0).long()
    return int(same.cumprod(0).sum())
