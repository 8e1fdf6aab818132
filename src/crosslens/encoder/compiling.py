"""From an encoder to the files that answer its queries without PyTorch; see ``compiled.py``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from crosslens.backbones.engine import ExportError, export_onnx, exported_tower
from crosslens.encoder.compiled import (
    FACTS,
    FOLDER,
    FROZEN,
    LOOKS,
    MEANS,
    OTHERS,
    TEXTS,
    VECTORS,
    CompiledFacts,
    cached_place,
    read_facts,
    source_digest,
)
from crosslens.encoder.encoder import Encoder
from crosslens.encoder.parts.tensors import DomainColumn
from crosslens.support.files import atomic_path, write_json

_TOLERANCE = 1e-4


def compile_folder(encoder: Encoder, folder: Path) -> bool:
    """Give an encoder folder what answers queries without PyTorch, where it lacks that.

    Args:
        encoder: what was saved there.
        folder: of the encoder.

    Returns:
        Whether the encoder can be compiled.

    Raises:
        CrosslensError: when the folder cannot be written.
    """
    made_of = source_digest(folder)
    facts = read_facts(folder / FOLDER, made_of)
    if facts is None:
        cached = cached_place(made_of)
        facts = read_facts(cached, made_of) or compile_encoder(encoder, cached, made_of)
        with atomic_path(folder / FOLDER) as temporary:
            temporary.mkdir()
            for file in cached.iterdir():
                _place(file, temporary / file.name)
    return not facts.refused


def compile_encoder(encoder: Encoder, target: Path, made_of: str) -> CompiledFacts:
    """Write the networks of an encoder as ONNX files, each checked against PyTorch, to a new folder.

    Args:
        encoder: any one that reads images.
        target: the folder; what was there is replaced. Of an encoder that cannot be compiled it says why.
        made_of: ``source_digest`` of the encoder's folder.

    Returns:
        What the folder says of itself.

    Raises:
        CrosslensError: when it cannot be written.
    """
    with atomic_path(target) as temporary:
        temporary.mkdir(parents=True)
        try:
            facts = _write(encoder, temporary, made_of)
        except ExportError as error:
            shutil.rmtree(temporary)
            temporary.mkdir()
            facts = CompiledFacts(made_of=made_of, refused=_first_words(error))
        write_json(temporary / FACTS, facts.model_dump(mode="json"))
    return facts


def _write(encoder: Encoder, folder: Path, made_of: str) -> CompiledFacts:
    from safetensors.torch import save_file

    backbones = {"": encoder.backbone}
    if encoder.embeds_by_domain:
        backbones |= {domain: encoder.backbone_of(domain) for domain in encoder.domains}
        backbones[OTHERS] = encoder.backbone_of(None)
    networks: dict[str, tuple[str, str]] = {}
    for number, (domain, backbone) in enumerate(backbones.items()):
        file = f"features-{number}.onnx" if domain else FROZEN
        _place(exported_tower(backbone), folder / file)
        networks[domain] = (file, backbone.fingerprint.digest)
    features = torch.zeros(2, encoder.backbone.dim)
    known = [None, *encoder.domains]
    domains = [torch.tensor([0, len(known) - 1])] if encoder.domains else []

    def to_vectors(features: Tensor, domains: Tensor | None = None) -> Tensor:
        return encoder.encode_rows(features, [None] if domains is None else DomainColumn(known, domains))

    _export(to_vectors, features, *domains, file=folder / VECTORS)
    means = encoder.domain_means
    looks = bool(means) and encoder.domain_rows(features) is not features
    if means:
        save_file({"means": torch.stack(list(means.values())).contiguous()}, folder / MEANS)
    if looks:
        _export(encoder.domain_rows, features, file=folder / LOOKS)
    reader = encoder.backbone.text_reader if encoder.has_text else ""
    if reader:
        sentences = nn.functional.normalize(torch.ones(2, encoder.backbone.joint_dim or 0), dim=1)
        _export(encoder.place_texts, sentences, file=folder / TEXTS)
    return CompiledFacts(
        made_of=made_of,
        name=encoder.name,
        backbone=encoder.backbone.name,
        backbone_title=encoder.backbone_title,
        dim=encoder.dim,
        width=encoder.backbone.dim,
        domains=tuple(encoder.domains),
        detectable=encoder.detectable,
        has_text=encoder.has_text,
        similarity=encoder.similarity,
        fingerprint=encoder.fingerprint,
        preprocess=encoder.preprocess,
        networks=networks,
        reader=reader,
        looks=looks,
    )


def _first_words(error: ExportError) -> str:
    # Colours of a terminal begin with an escape.
    return str(error).splitlines()[0].partition("\x1b")[0].strip()[:200]


class _Step(nn.Module):
    """A function on tensors as a network."""

    def __init__(self, compute: Callable[..., Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, rows: Tensor, numbers: Tensor | None = None) -> Tensor:
        """What the function gives."""
        return self.compute(rows) if numbers is None else self.compute(rows, numbers)


def _export(compute: Callable[..., Tensor], *examples: Tensor, file: Path) -> None:
    with torch.no_grad():
        # What a backbone computes on first use must be there before the network is traced.
        compute(*examples)
    export_onnx(_Step(compute).eval(), *examples, file=file, tolerance=_TOLERANCE)


def _place(source: Path, target: Path) -> None:
    """The same file under another name; a copy where a disk has no links or the two lie on different ones."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
