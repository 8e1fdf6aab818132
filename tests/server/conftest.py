"""Indexes of real small pictures, and servers over them."""

import sys

import pytest
import torch

from crosslens.cli import main
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint
from crosslens.search.index.index import Index


@pytest.fixture(scope="session")
def small_world(_exports):
    """``tiny`` and ``talker`` as backbones, and a cache of this session's own."""
    from testing.reading_backbone import register_talker
    from testing.tiny_backbone import register_tiny

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSLENS_CACHE", str(_exports))
        register_tiny()
        register_talker()
        yield


@pytest.fixture(scope="session")
def pictures_root(small_world, tmp_path_factory):
    from testing.tiny_pictures import make_pictures

    return make_pictures(tmp_path_factory.mktemp("served") / "pictures", count=4)


@pytest.fixture(scope="session")
def built_index(pictures_root):
    """An index of 32 pictures whose encoder reads; not to be changed."""
    from testing.reading_backbone import TalkerBackbone

    folder = pictures_root.parent / "pictures.index"
    talker = TalkerBackbone()
    Index.build(Catalog.open(pictures_root), Encoder(talker, [Joint(talker)]), folder)
    return folder


@pytest.fixture(scope="session")
def served(built_index):
    """A server over ``built_index`` for tests that change nothing."""
    from testing.servers import running

    with running(built_index) as server:
        yield server


@pytest.fixture(scope="session")
def centred_index(pictures_root):
    """An index of 32 pictures whose encoder takes each look's mean away; not to be changed."""
    from testing.tiny_backbone import TinyBackbone

    catalog, bare = Catalog.open(pictures_root), Encoder(TinyBackbone())
    looks = {look: catalog.select(domains=[look]).paths for look in catalog.domains}
    means = {look: torch.from_numpy(bare.image_features(paths)).mean(0) for look, paths in looks.items()}
    folder = pictures_root.parent / "centred.index"
    Index.build(catalog, Encoder(bare.backbone, [Centre(means)], method="centred"), folder)
    return folder


@pytest.fixture(scope="session")
def centred(centred_index):
    """A server over ``centred_index`` for tests that change nothing."""
    from testing.servers import running

    with running(centred_index) as server:
        yield server


@pytest.fixture
def own_index(pictures_root, tmp_path):
    """An index of this test's own, of the photos alone, whose encoder does not read."""
    from testing.tiny_backbone import TinyBackbone

    folder = tmp_path / "own.index"
    Index.build(Catalog.open(pictures_root).select(domains=["photo"]), Encoder(TinyBackbone()), folder)
    return folder


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run a command in this process; gives exit status, standard output and error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["crosslens", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = leaving.code or 0
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call
