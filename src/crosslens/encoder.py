"""The Encoder: backbone, per-domain centre and head in one folder; what search and evaluation use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone, Fingerprint, hash_weights
from crosslens.backbones.engine import Engine, cpu_workers, make_engine
from crosslens.encoder_config import FORMAT, EncoderConfig, Space, describe
from crosslens.encoder_tensors import parts_of, tensors_of
from crosslens.errors import BackboneError, RunError
from crosslens.files import atomic_path, read_json, write_json
from crosslens.nn.heads import Head, HeadGroup
from crosslens.nn.projection import Projection
from crosslens.nn.prompts import PromptedTower
from crosslens.nn.whitened import WhitenedPart
from crosslens.ops.rounding import difference
from crosslens.similarity import ROWS, Similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

ImageSource = Path | str | bytes | Image.Image
_MAKING = Lock()


class Encoder:
    """Turns images, and where the space allows it texts, into unit vectors that ignore the domain.

    Args:
        backbone: the network with its preprocessing.
        method: how the encoder was obtained.
        head: what training put behind the backbone: one head or several side by side, a projection, or None.
        means: per domain the ``(D,)`` centre that is subtracted before the head; empty without centring.
        space: ``features`` or ``joint``.
        maps: per domain a map W ``(J, J)``, ``z -> normalise(z W)``, on what comes out otherwise (of each head
            alone where there are several); domains without one are left as they are. Rows below W are what is
            added after it: one for all heads, or one a head.
        text: whether the head was trained to stay in the space shared with text.
        prompted: a tower with prompts; ``backbone`` is then the frozen one below it.
        whitened: a closed-form part joined to the head's vectors, or None.
        tuned: whether the backbone's tower was trained and belongs to the encoder.
        trained: facts for the model card.
        looks: per domain the mean ``(D,)`` of the backbone's features, which tells a picture's domain. It changes
            no vector, so it is no part of the fingerprint; ``crosslens.fit`` adds it.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        method: str = "frozen",
        head: Head | HeadGroup | Projection | None = None,
        means: Mapping[str, Tensor] | None = None,
        space: Space = "features",
        maps: Mapping[str, Tensor] | None = None,
        text: bool = False,
        prompted: PromptedTower | None = None,
        whitened: WhitenedPart | None = None,
        tuned: bool = False,
        trained: Mapping[str, Any] | None = None,
        looks: Mapping[str, Tensor] | None = None,
    ) -> None:
        if space == "joint" and not backbone.has_text:
            raise BackboneError(
                f"{backbone.name} has no space shared with text; use lite, clip:PATH or siglip:PATH"
            )
        self.backbone = backbone
        self.method = method
        group = HeadGroup([head]) if isinstance(head, Head) else head
        self.head = None if group is None else group.cpu().eval().requires_grad_(False)
        self.means = _by_domain(means)
        self.maps = _by_domain(maps)
        self.space = space
        self.text = text
        self.prompted = None if prompted is None else prompted.cpu().eval().requires_grad_(False)
        self.whitened = whitened
        self.tuned = tuned
        self.trained = dict(trained or {})
        self.looks = _by_domain(looks)

    @property
    def dim(self) -> int:
        """d, the length of an encoded vector."""
        if self.head is not None:
            return self.head.dim + (0 if self.whitened is None else self.whitened.matrix.shape[1])
        return self.backbone.joint_dim or 0 if self.space == "joint" else self.backbone.dim

    @property
    def name(self) -> str:
        """Backbone and method, for tables."""
        joint = ":joint" if self.space == "joint" else ""
        return f"{self.backbone.name}{joint}" + ("" if self.method == "frozen" else f"+{self.method}")

    @property
    def has_text(self) -> bool:
        """Whether texts can be encoded too: where no head left the joint space, or one that serves both."""
        if isinstance(self.head, Projection):
            return self.space == "joint" and not self.means
        return self.text if self.head is not None else self.space == "joint"

    def backbone_of(self, domain: str | None) -> Backbone:
        """The backbone that embeds a domain's images: with the domain's prompts where the encoder has some."""
        if self.prompted is None:
            return self.backbone
        known: dict[str | None, Backbone] = self.__dict__.setdefault("_prompted", {})
        place = domain if domain in self.prompted.domains else None
        if place not in known:
            known[place] = self.backbone.with_tower(self.prompted.for_domain(place))
        return known[place]

    @property
    def similarity(self) -> Similarity:
        """How vectors are compared; queries take ``similarity.as_queries`` before an inner product."""
        return self.head.shape.similarity if isinstance(self.head, Projection) else Similarity()

    @property
    def domains(self) -> list[str]:
        """Domains that are treated in a way of their own: with a centre, a map or prompts."""
        prompts = () if self.prompted is None else self.prompted.domains
        whitened = () if self.whitened is None else self.whitened.means
        return sorted({*self.means, *self.maps, *prompts, *whitened})

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of the encoded vectors; an index refuses those of another."""
        own = {"head." + k: v for k, v in self.head.state_dict().items()} if self.head else {}
        if isinstance(self.head, Projection):
            # What its numbers mean stands in its settings: curvature, bounds, and the form of its rows.
            own["head.shape"] = torch.tensor(list(f"{ROWS} {self.head.shape.model_dump_json()}".encode()))
        own |= {f"mean.{domain}": mean for domain, mean in self.means.items()}
        if self.space == "joint" and self.backbone.joint_kind:
            own["joint"] = torch.tensor(list(self.backbone.joint_kind.encode()))
        own |= {f"map.{domain}": matrix for domain, matrix in self.maps.items()}
        own |= {} if self.prompted is None else self.prompted.learned()
        if self.whitened is not None:
            own |= {f"whitened.{k}": v for k, v in self.whitened.tensors().items()}
            own["whitened.share"] = torch.tensor([self.whitened.share, self.whitened.power])
        base = self.backbone.fingerprint
        # The settings have a field of their own, so that the weights' hash is what version 0.1 wrote.
        below = torch.tensor(list(base.without_settings.digest.encode()))
        weights = hash_weights({"backbone": below, **own})
        return Fingerprint(
            model=self.name, weights=weights, settings=base.settings, preprocess=base.preprocess, dim=self.dim
        )

    @torch.inference_mode()
    def encode_features(
        self, features: NDArray[np.floating[Any]] | Tensor, domains: Sequence[str | None] | str | None = None
    ) -> NDArray[np.float32]:
        """Backbone features to unit vectors.

        Args:
            features: ``(N, D)``.
            domains: the domain of all rows, or one a row; rows of an unknown domain (None, or one without a
                centre) get the mean of the known centres.

        Returns:
            ``(N, d)`` float32.
        """
        if isinstance(features, Tensor):
            rows = features.float()
        else:
            rows = torch.from_numpy(np.asarray(features, dtype=np.float32))
        names = [domains] if domains is None or isinstance(domains, str) else list(domains)
        parts = [
            self.encode_rows(rows[start : start + 8192], names if len(names) == 1 else names[start : start + 8192])
            for start in range(0, len(rows), 8192)
        ]
        return torch.cat(parts).numpy() if parts else np.empty((0, self.dim), np.float32)

    def encode_rows(self, features: Tensor, names: Sequence[str | None]) -> Tensor:
        """``encode_features`` on tensors, all at once: features ``(N, D)`` to unit rows ``(N, d)``.

        Args:
            features: float32, on the CPU.
            names: the domain of every row ``(N,)``, or one name for all of them ``(1,)``.
        """
        rows = self.backbone.to_joint(features) if self.space == "joint" else features
        if self.means:
            rows = difference(rows, self._centres(names))
        rows = self.apply_maps(self._headed(rows), names)
        return rows if self.whitened is None else self.whitened.beside(rows, features, names)

    def encode_images(
        self,
        images: Sequence[ImageSource] | ImageSource | Tensor,
        domain: str | None = None,
        *,
        device: str | None = None,
    ) -> NDArray[np.float32]:
        """Images to unit vectors ``(N, d)``.

        Args:
            images: paths, encoded bytes or Pillow images, one or many; or a preprocessed tensor ``(N, 3, H, W)``.
            domain: the images' domain, where it is known.
            device: see ``crosslens.backbones.engine.make_engine``.

        Raises:
            ImageError: naming the first image that cannot be decoded.
        """
        if isinstance(images, Tensor):
            return self.encode_features(self.backbone_of(domain).embed_images(images), domain)
        sources = [images] if isinstance(images, ImageSource) else images
        return self.encode_features(self.image_features(sources, domain, device=device), domain)

    def image_features(
        self,
        images: Sequence[ImageSource],
        domain: str | None = None,
        *,
        frozen: bool = False,
        device: str | None = None,
    ) -> NDArray[np.float32]:
        """Images to backbone features ``(N, D)``, what ``encode_features`` takes.

        Args:
            images, domain, device: see ``encode_images``.
            frozen: without the prompts that the encoder may have.

        Raises:
            ImageError: naming the first image that cannot be decoded.
        """
        backbone = self.backbone if frozen else self.backbone_of(domain)
        opened = [Path(s) if isinstance(s, str) else s for s in images]
        engine = self._engine(device, backbone)
        with ThreadPoolExecutor(cpu_workers()) as pool:
            batches = _batches(iter(opened), engine.batch_size)
            rows = list(pool.map(lambda batch: self._run(engine, batch), batches))
        return np.concatenate(rows) if rows else np.empty((0, backbone.dim), np.float32)

    def encode_texts(self, texts: Sequence[str] | str) -> NDArray[np.float32]:
        """Texts to unit vectors ``(T, d)``.

        Raises:
            BackboneError: when this encoder's space is not shared with text.
        """
        if not self.has_text:
            raise BackboneError(
                f"{self.name} does not understand text; use a joint space, such as lite:joint or clip:PATH"
            )
        rows = self.backbone.embed_texts([texts] if isinstance(texts, str) else list(texts))
        if isinstance(self.head, Projection):
            with torch.inference_mode():
                return self._headed(rows).numpy()
        members = 1 if self.head is None else len(self.head.members)
        # Beside joined heads a text stands once for each; the cosine is then the mean over the heads.
        rows = rows.repeat(1, members) / members**0.5
        # Texts have no share in the whitened part, which takes the same from every image's score.
        return F.pad(rows, (0, self.dim - rows.shape[1])).numpy()

    def save(self, folder: Path) -> None:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md``, all or nothing."""
        from safetensors.torch import save_file

        from crosslens.model_card import model_card

        config, tensors = describe(self), tensors_of(self)
        with atomic_path(folder) as temporary:
            temporary.mkdir(parents=True)
            save_file(tensors, temporary / "model.safetensors")
            (temporary / "README.md").write_text(model_card(config, self.dim), encoding="utf-8")
            write_json(temporary / "config.json", config.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """Read an encoder folder.

        Raises:
            RunError: when it is none, is damaged, or of a newer crosslens.
            FingerprintError: when the backbone found here is not the one it was trained behind.
        """
        from safetensors.torch import load_file

        description = read_json(folder / "config.json", RunError)
        if int(description.get("format", 0)) > FORMAT:
            raise RunError(f"{folder} was written by a newer crosslens; upgrade to read it")
        try:
            config = EncoderConfig.model_validate(description)
            tensors = load_file(folder / "model.safetensors")
        except ValidationError as error:
            raise RunError(f"{folder}/config.json is damaged: {error}") from error
        except Exception as error:
            # safetensors raises its own kinds on a damaged file.
            raise RunError(f"{folder}/model.safetensors cannot be read: {error}") from error
        told = config.fingerprint.preprocess
        backbone = load_backbone(config.backbone, decode=told.decode)
        # An encoder goes on cropping as it did when it was trained.
        backbone.preprocess = backbone.preprocess.model_copy(update={"margin": told.margin})
        try:
            parts = parts_of(config, tensors, backbone)
        except (RuntimeError, KeyError) as error:
            raise RunError(f"{folder}/model.safetensors does not fit its config.json: {error}") from error
        config.fingerprint.require(backbone.fingerprint, f"the encoder {folder}")
        return cls(
            backbone,
            method=config.method,
            space=config.space,
            text=config.text,
            tuned=config.tuned,
            trained=config.trained,
            **parts,
        )

    def _headed(self, rows: Tensor) -> Tensor:
        if self.head is None:
            return F.normalize(rows, dim=1)
        unit: Tensor = self.head.encode(rows) if isinstance(self.head, Projection) else self.head(rows)
        return unit

    def _centres(self, names: Sequence[str | None]) -> Tensor:
        unknown = torch.stack(list(self.means.values())).mean(0)
        return torch.stack([self.means.get(name or "", unknown) for name in names])

    def apply_maps(self, rows: Tensor, names: Sequence[str | None]) -> Tensor:
        """Unit rows ``(N, d)`` through their domains' maps, of each head's part alone; unit rows again.

        ``names`` holds the domain of every row, or one for all.
        """
        if not self.maps:
            return rows
        width = next(iter(self.maps.values())).shape[1]
        split = rows.unflatten(1, (-1, width))
        mapped = split
        for domain, matrix in self.maps.items():
            own = torch.tensor([name == domain for name in names]).view(-1, 1, 1)
            # Each head's part is 1 / sqrt(M) long; shifts are meant for unit rows.
            moved = F.normalize(split, dim=2) @ matrix[:width] + _shift(matrix[width:])
            mapped = torch.where(own, F.normalize(moved, dim=2) / split.shape[1] ** 0.5, mapped)
        return mapped.flatten(1)

    def _engine(self, device: str | None, backbone: Backbone) -> Engine:
        engines: dict[Any, Engine] = self.__dict__.setdefault("_engines", {})
        key = (device, backbone.fingerprint.digest)
        with _MAKING:
            if key not in engines:
                engines[key] = make_engine(backbone, device)
        return engines[key]

    def _run(self, engine: Engine, batch: list[Path | bytes | Image.Image]) -> NDArray[np.float32]:
        return engine.run(np.stack([self.backbone.preprocess.pixels(source) for source in batch]))


def load_encoder(source: str | Path) -> Encoder:
    """An encoder from whatever names one: a run folder, an encoder folder, or a backbone's name.

    A backbone's name gives the frozen encoder; ``lite:joint`` gives its space shared with text.

    Raises:
        RunError: for a run that has not finished.
        BackboneError: when ``source`` is none of these.
    """
    folder = Path(source)
    if (folder / "encoder" / "config.json").is_file():
        return Encoder.load(folder / "encoder")
    if (folder / "config.json").is_file():
        return Encoder.load(folder)
    if (folder / "config.yaml").is_file():
        raise RunError(f"the run {folder} has no encoder yet; finish it with 'crosslens fit ... --resume'")
    name = str(source)
    if name.endswith(":joint"):
        return Encoder(load_backbone(name.removesuffix(":joint")), space="joint")
    try:
        backbone = load_backbone(name)
    except BackboneError as error:
        raise BackboneError(f"{source} is no run, no encoder folder and no backbone: {error}") from error
    # A space that text shares already costs nothing to use.
    joint = backbone.joint_dim == backbone.dim
    return Encoder(backbone, space="joint" if joint else "features")


def _by_domain(tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    return {domain: tensor.detach().cpu().float() for domain, tensor in sorted((tensors or {}).items())}


def _shift(rows: Tensor) -> Tensor | float:
    return rows if len(rows) else 0.0


def _batches(
    sources: Iterator[Path | bytes | Image.Image], size: int
) -> Iterator[list[Path | bytes | Image.Image]]:
    while batch := list(islice(sources, size)):
        yield batch
