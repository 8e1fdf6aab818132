"""Encoders of every kind, with seeded weights."""

import torch

from crosslens.backbones import load_backbone
from crosslens.backbones.base import Backbone
from crosslens.encoder import Encoder
from crosslens.encoder.parts import (
    Centre,
    DomainMap,
    Heads,
    Joint,
    Looks,
    ProjectionHead,
    Prompts,
    TrainedTower,
    Untrained,
    Whitened,
)
from crosslens.nn.heads import Head, HeadGroup
from crosslens.nn.projection import Projection, ProjectionShape
from crosslens.nn.prompts import PromptedTower, PromptShape
from testing.published_models import save_clip

DOMAINS = ("photo", "sketch")


class Draw:
    """Seeded tensors."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape):
        return torch.randn(*shape, generator=self.generator) / shape[-1] ** 0.5

    def each(self, *shape, domains=DOMAINS):
        return {domain: self(*shape) for domain in reversed(domains)}

    def into(self, module):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(self(*parameter.shape))
        return module

    def heads(self, *sizes, members=1, **options):
        return self.into(HeadGroup([Head(sizes, **options) for _ in range(members)])).members

    def projection(self, **settings):
        return self.into(Projection(ProjectionShape(sizes=(64, 32, 16), **settings)))


def former_lite() -> Backbone:
    """The photo network alone, under the name that it had when the golden values were made."""
    backbone = load_backbone("lite:photo")
    backbone.name = "lite"
    return backbone


def frozen(folder):
    return Encoder(former_lite())


def joint(folder):
    backbone = former_lite()
    return Encoder(backbone, [Joint(backbone)])


def blended(folder):
    backbone = load_backbone("lite:blend")
    return Encoder(backbone, [Joint(backbone)])


def centred(folder):
    return Encoder(former_lite(), [Centre(Draw(1).each(1280))], method="centred")


def looking(folder):
    return Encoder(former_lite(), [Looks(Draw(2).each(1280))])


def headed(folder):
    draw = Draw(3)
    heads, means = draw.heads(1280, 8, 4, members=3), draw.each(1280)
    facts = {"seed": 3, "oracle": "true labels", "marks": ["a mark"]}
    return Encoder(former_lite(), [Heads(heads), Centre(means)], method="ucdir", trained=facts)


def tuned(folder):
    backbone = load_backbone("tiny")
    Draw(4).into(backbone.tower)
    backbone = backbone.with_tower(backbone.tower)
    head = Draw(5).heads(64, 8, unit_inputs=False)
    return Encoder(backbone, [Heads(head), TrainedTower(backbone.tower)], method="uem")


def mapped(folder):
    backbone = load_backbone("talker")
    return Encoder(backbone, [Joint(backbone), DomainMap({"photo": Draw(6)(64, 64)})], method="text-map")


def joint_centred(folder):
    backbone = load_backbone("talker")
    return Encoder(backbone, [Joint(backbone), Centre(Draw(7).each(64))], method="centred")


def clair(folder):
    draw = Draw(8)
    parts = [
        Heads(draw.heads(64, 64, members=2), text=True),
        Centre(draw.each(64)),
        # Below each map stands a shift for each of the two heads.
        DomainMap(draw.each(66, 64)),
        Whitened(draw(64, 6), dict(sorted(draw.each(64).items())), 0.3, 0.5),
        Looks(draw.each(64)),
    ]
    return Encoder(load_backbone("talker"), parts, method="clair")


def whitened(folder):
    draw = Draw(9)
    part = Whitened(draw(1280, 6), dict(sorted(draw.each(1280).items())), 0.25)
    return Encoder(former_lite(), [Heads(draw.heads(1280, 5)), part], method="clair")


def beside(folder):
    draw, backbone = Draw(13), load_backbone("talker")
    heads = draw.heads(64, 8, members=2)
    return Encoder(backbone, [Heads(heads), Untrained(backbone, draw.each(64), 0.4, 16)], method="uem")


def tki(**settings):
    def make(folder):
        backbone, head = load_backbone("talker"), ProjectionHead(Draw(10).projection(**settings))
        return Encoder(backbone, [Joint(backbone), head, Looks(Draw(11).each(64))], method="tki")

    return make


def tki_centred(folder):
    backbone, head = load_backbone("talker"), ProjectionHead(Draw(10).projection(reach=0.7))
    return Encoder(backbone, [Joint(backbone), Centre(Draw(12).each(64)), head], method="tki")


def prompted(folder):
    save_clip(folder / "clip")
    backbone = load_backbone(f"clip:{folder / 'clip'}")
    tower = PromptedTower(backbone.tower, PromptShape(domains=DOMAINS, domain_tokens=2, shared_tokens=1))
    Draw(13).into(tower.own)
    parts = [Prompts(tower), Joint(backbone), DomainMap({"sketch": Draw(14)(8, 8)})]
    return Encoder(backbone, parts, method="clair")


KINDS = {
    "frozen": frozen,
    "joint": joint,
    "joint of lite:blend": blended,
    "centred": centred,
    "looks": looking,
    "heads, centred": headed,
    "tuned tower and head": tuned,
    "map of one domain": mapped,
    "joint, centred": joint_centred,
    "heads that serve text, maps with shifts, whitened": clair,
    "head and whitened": whitened,
    **{f"tki, {geometry}": tki(geometry=geometry) for geometry in ("mobius", "hnnpp", "euclid_exp", "euclid")},
    "tki, ranked by cosine": tki(ranking="cosine"),
    "tki, centred": tki_centred,
    "prompts and a map": prompted,
    "heads beside untrained features": beside,
}

CURVED = {"tki, mobius", "tki, hnnpp", "tki, euclid_exp", "tki, ranked by cosine", "tki, centred"}
"""Those whose vectors are points of the ball: they take a network whose steps depend on its values, and near the
ball's edge float32 leaves them three digits, which differ between processors."""
