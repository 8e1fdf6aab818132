from __future__ import annotations

import subprocess
import sys

import pytest

from crosslens.backbones import BACKBONES, describe_backbones, load_backbone
from crosslens.support.errors import BackboneError


@pytest.mark.parametrize("name", ["?", "", "clipp:x", "LITE", "resnet50"])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    with pytest.raises(BackboneError) as caught:
        load_backbone(name)
    assert f"no backbone {name!r}" in str(caught.value)
    for kind, entry in BACKBONES.items():
        assert kind in str(caught.value)
        assert entry.about in str(caught.value)


def test_description_has_one_line_a_kind() -> None:
    lines = describe_backbones().splitlines()
    assert [line.split()[0].partition(":")[0] for line in lines] == list(BACKBONES)
    assert max(map(len, lines)) <= 100


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
