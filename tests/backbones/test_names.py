from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crosslens.backbones import BACKBONES, describe_backbones, load_backbone, require_kind
from crosslens.support.errors import BackboneError


@pytest.mark.parametrize("name", ["?", "", "clipp:x", "LITE", "resnet50"])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    with pytest.raises(BackboneError) as caught:
        load_backbone(name)
    assert f"no backbone {name!r}" in str(caught.value)
    for kind, entry in BACKBONES.items():
        assert kind in str(caught.value)
        assert entry.about in str(caught.value)


def test_description_names_each_kind_on_one_line() -> None:
    told = describe_backbones()
    assert "\n" not in told
    assert [one.split()[0].partition(":")[0] for one in told.split("; ") if "(" in one] == list(BACKBONES)


def test_a_path_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    require_kind(f"vit:{tmp_path}/model")
    require_kind("vit:google/vit-base-patch16-224")
    with pytest.raises(BackboneError, match="did you mean 'model'"):
        require_kind(f"vit:{tmp_path}/modle")


@pytest.mark.parametrize("kind", [kind for kind in BACKBONES if kind != "lite"])
def test_every_other_kind_needs_a_source(kind: str) -> None:
    with pytest.raises(BackboneError, match=f"{kind} needs a .*{kind}:"):
        load_backbone(kind)


def test_importing_backbones_is_cheap() -> None:
    code = (
        "import sys, crosslens, crosslens.backbones;"
        "print([m for m in ('torch', 'transformers', 'onnxruntime', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
