"""``open_clip_config.json``, which lies beside open_clip's weights: heads, activation, preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from crosslens.backbones.processor import require_translated
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError
from crosslens.support.files import read_json

# What the weights tell by their shapes, or training alone needs; and what has to be as in a plain CLIP.
_BY_SHAPE = frozenset(
    {"image_size", "layers", "width", "patch_size", "mlp_ratio", "patch_dropout", "output_tokens"}
)
_IN_VISION = {"pool_type": "tok", "pos_embed_type": "learnable"}
_IN_TEXT = {"pool_type": "argmax", "proj_type": "linear", "act_kwargs": {}, "norm_kwargs": {}, "pad_id": 0}
_OF_TOKENS = frozenset({"context_length", "vocab_size", "hf_tokenizer_name", "tokenizer_kwargs", "output_tokens"})
_OF_MODEL = frozenset({"embed_dim", "init_logit_scale", "init_logit_bias", "quick_gelu", "vision_cfg", "text_cfg"})
_OF_PIXELS = frozenset({"size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color"})


@dataclass(frozen=True)
class OpenClipSettings:
    """What such a file says; nothing where there is none.

    Attributes:
        content: the JSON object.
        what: names the file in messages.
    """

    content: Mapping[str, Any] = field(default_factory=dict)
    what: str = "open_clip_config.json"

    @classmethod
    def beside(cls, weights: Path) -> OpenClipSettings:
        """The settings beside a weights file.

        Raises:
            BackboneError: when the file is damaged, or describes a network that is not a plain CLIP.
        """
        file = weights.parent / "open_clip_config.json"
        if not file.is_file():
            return cls()
        found = cls(read_json(file, BackboneError), f"open_clip_config.json beside {weights}")
        found._require_plain()
        return found

    @property
    def quick_gelu(self) -> bool:
        """Whether the activation is OpenAI's."""
        return bool(self._part("model_cfg").get("quick_gelu"))

    def heads(self, config: Any) -> dict[str, int]:
        """Set the numbers of attention heads in transformers' ``CLIPConfig``; no weight tells them.

        Returns:
            The numbers by tower; where the file says none, what the widths suggest.

        Raises:
            BackboneError: when they do not divide a width.
        """
        vision, text = config.vision_config, config.text_config
        width = self._part("model_cfg", "vision_cfg").get("head_width")
        towers = {
            "vision": (vision, vision.hidden_size / width if width else None),
            "text": (text, self._part("model_cfg", "text_cfg").get("heads")),
        }
        for name, (tower, heads) in towers.items():
            if heads is None or heads == tower.num_attention_heads:
                continue
            if heads < 1 or heads != int(heads) or tower.hidden_size % int(heads):
                raise BackboneError(f"{self.what} asks for {heads:g} heads in the {name} tower, which do not fit")
            tower.num_attention_heads = int(heads)
        return {name: tower.num_attention_heads for name, (tower, _) in towers.items()}

    def preprocess(self, usual: Preprocess) -> Preprocess:
        """The preprocessing, with ``usual`` for what the file leaves open.

        Raises:
            BackboneError: when it asks for something that ``Preprocess`` cannot do.
        """
        settings = {key: value for key, value in self._part("preprocess_cfg").items() if value is not None}
        require_translated(settings, _OF_PIXELS, self.what)
        mode, size = settings.get("resize_mode", "shortest"), settings.get("size", usual.crop)
        if mode not in ("shortest", "squash"):
            raise BackboneError(
                f"{self.what} scales pictures by resize_mode {mode!r}; only 'shortest' and 'squash' are known"
            )
        if settings.get("mode", "RGB") != "RGB":
            raise BackboneError(f"{self.what} is for pictures of mode {settings['mode']!r}, not RGB")
        if set(size if isinstance(size, list) else [size]) != {usual.crop}:
            raise BackboneError(f"{self.what} scales pictures to {size}, but the weights are for {usual.crop}")
        channels: dict[str, Any] = {key: settings[key] for key in ("mean", "std") if key in settings}
        own: dict[str, Any] = {key: (v,) * 3 if isinstance(v, int | float) else v for key, v in channels.items()}
        own |= {"interpolation": settings["interpolation"]} if "interpolation" in settings else {}
        try:
            return Preprocess.model_validate({**usual.model_dump(), **own, "squash": mode == "squash"})
        except ValidationError as error:
            raise BackboneError(f"{self.what} asks for unknown preprocessing: {error}") from error

    def _require_plain(self) -> None:
        require_translated(self._part("model_cfg"), _OF_MODEL, self.what, {"custom_text": False})
        vision, text = (self._part("model_cfg", name) for name in ("vision_cfg", "text_cfg"))
        require_translated(vision, _BY_SHAPE | {"head_width"}, f"vision_cfg in {self.what}", _IN_VISION)
        require_translated(text, _BY_SHAPE | _OF_TOKENS | {"heads"}, f"text_cfg in {self.what}", _IN_TEXT)

    def _part(self, *names: str) -> Mapping[str, Any]:
        part: Any = self.content
        for name in names:
            part = part.get(name) or {}
            if not isinstance(part, Mapping):
                raise BackboneError(f"{self.what} holds no settings under {name}")
        found: Mapping[str, Any] = part
        return found
