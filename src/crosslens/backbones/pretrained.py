"""Models in transformers' format, from a local folder or the Hugging Face hub, loaded strictly.

Left to itself, transformers fills weights that a folder lacks with random numbers and logs a warning. Here that is
an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crosslens.backbones.base import describe_faults, hash_settings
from crosslens.backbones.processor import preprocess_from
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError
from crosslens.support.files import read_json
from crosslens.support.near_names import near_folder

# Settings of training and of outputs that are not used here.
_UNUSED = re.compile(
    r"dropout|drop_path|initializer|^(layerscale_value|use_mask_token|encoder_stride|pooler_.*|stage_names|out_features"
    r"|out_indices|apply_layernorm|reshape_hidden_states)$"
)


# As the hub names models; a path from here or from home is none.
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_PATIENCE = 10.0
"""Seconds until the hub must have answered."""


class Pretrained:
    """A folder with ``config.json`` and weights, here or on the hub.

    Attributes:
        source: the local folder or the hub id, as transformers takes it.
        is_local: whether it is a folder.
        config: the content of ``config.json``.

    Raises:
        BackboneError: when there is no such folder, the hub cannot be reached, or the model is of another type.
    """

    def __init__(self, kind: str, source: str, types: tuple[str, ...]) -> None:
        if not source:
            raise BackboneError(f"{kind} needs a model folder or a hub id: {kind}:SOURCE")
        self.source = source
        self.is_local = Path(source).is_dir()
        if not self.is_local and (Path(source).exists() or not _HUB_ID.fullmatch(source)):
            what = "is not a folder" + ("" if Path(source).exists() else ", and no id of the hub either")
            raise BackboneError(
                f"{source} {what}; {kind} needs one with config.json and weights in it{near_folder(source)}"
            )
        file = self.file("config.json")
        if file is None:
            raise BackboneError(f"{source} has no config.json; {kind} needs a model in transformers' format")
        self.config = read_json(file, BackboneError)
        found = self.config.get("model_type")
        if found not in types:
            raise BackboneError(f"{source} holds a model of type {found!r}, but {kind} reads {' or '.join(types)}")

    def load(self, model_class: Any, **options: Any) -> Any:
        """The model in float32 and evaluation mode, without gradients, every weight read from the source.

        Weights that ``model_class`` has no use for, such as a classifier's, are ignored.

        Raises:
            BackboneError: listing weights that are missing or of another shape, or when files are damaged.
        """
        try:
            with _quiet(hide_progress=self.is_local):
                model, found = self._read(
                    model_class, output_loading_info=True, ignore_mismatched_sizes=True, **options
                )
        except Exception as error:
            # transformers, safetensors and the hub raise dozens of kinds; the reader needs one.
            raise BackboneError(f"the model {self.source} cannot be loaded: {error}") from error
        missing = [key for key in found["missing_keys"] if not key.endswith("num_batches_tracked")]
        shapes = [key if isinstance(key, str) else key[0] for key in found["mismatched_keys"]]
        if faults := describe_faults({"missing": sorted(missing), "of another shape": sorted(shapes)}):
            raise BackboneError(f"the weights of {self.source} do not fit its config.json: {faults}")
        return model.float().eval().requires_grad_(False)

    def preprocess(self, default: Preprocess) -> Preprocess:
        """What ``preprocessor_config.json`` says, and ``default`` for what it leaves open or when it is absent.

        Raises:
            BackboneError: when it asks for something that ``Preprocess`` cannot do.
        """
        settings: dict[str, Any] = {}
        for name in ("preprocessor_config.json", "processor_config.json"):
            file = self.file(name)
            if file is not None:
                content = read_json(file, BackboneError)
                # Newer processors keep the image part under a key of its own, and there may be none.
                usual = content if name == "preprocessor_config.json" or "image_processor_type" in content else {}
                settings = content.get("image_processor", usual)
                break
        found = preprocess_from(settings, default, f"the preprocessing of {self.source}")
        # transformers rounds margins down (its issue 40856).
        return found if found.squash else found.model_copy(update={"margin": "floor"})

    @staticmethod
    def settings(config: Any) -> str:
        """What a model's configuration says beside the shapes of weights, hashed; see ``Fingerprint``.

        Only what differs from the configuration's own defaults counts, so that a folder that was saved again, by
        a newer transformers with more settings, is the same model.

        Args:
            config: of the image tower, as transformers reads it.
        """
        from transformers import PretrainedConfig

        usual = type(config)().to_dict()
        names = usual.keys() - PretrainedConfig().to_dict().keys()
        own = {name: getattr(config, name) for name in names if not _UNUSED.search(name)}
        changed = {name: value for name, value in own.items() if value != usual[name]}
        return hash_settings({"type": config.model_type, **changed})

    def file(self, name: str) -> Path | None:
        """A file of the model; None when the model has no such file.

        A hub's file is taken from the local cache, and fetched only when it is not there: what was downloaded
        once works without a network, and does not change under its fingerprint.

        Raises:
            BackboneError: when the hub has to be asked and cannot be reached, or has no such model.
        """
        if self.is_local:
            file = Path(self.source) / name
            return file if file.is_file() else None
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        cached = huggingface_hub.try_to_load_from_cache(self.source, name)
        if isinstance(cached, str):
            return Path(cached)
        if cached is huggingface_hub._CACHED_NO_EXIST:
            return None
        try:
            # Asked once: left to itself, the download tries again for most of a minute where there is no network.
            huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(self.source, name), timeout=_PATIENCE)
            return Path(huggingface_hub.hf_hub_download(self.source, name))
        except Exception as error:
            # A file that the hub lacks is an answer. That nothing could be asked is a subclass of it, and besides
            # there are no such repository, no permission, and the network library's own exceptions.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                return None
            reason = str(error).strip().split("\n")[0]
            raise BackboneError(
                f"{self.source} is neither a folder here nor reachable on the Hugging Face hub ({reason}). Where"
                f" there is no network, download the model elsewhere and give its local folder"
                f"{near_folder(self.source)}"
            ) from error

    def _read(self, model_class: Any, **options: Any) -> Any:
        """``from_pretrained``, which asks the network only when the hub's cache lacks something."""
        try:
            return model_class.from_pretrained(self.source, local_files_only=True, **options)
        except OSError:
            if self.is_local:
                raise
            return model_class.from_pretrained(self.source, **options)


@contextmanager
def _quiet(*, hide_progress: bool) -> Iterator[None]:
    """Silence transformers' loading report, whose content ``Pretrained.load`` turns into errors."""
    from transformers.utils import logging

    level, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if hide_progress:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows_progress:
            logging.enable_progress_bar()
