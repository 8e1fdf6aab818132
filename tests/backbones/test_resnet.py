from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from crosslens.backbones import load_backbone
from crosslens.backbones.resnet import Bottleneck, ResNet, load_moco_v2
from crosslens.support.errors import BackboneError
from testing.published_models import moco_checkpoint, tiny_resnet


def tiny_head() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 16))


def test_resnet50_has_torchvisions_names_and_shapes() -> None:
    """Facts about torchvision's resnet50: 23,508,032 parameters without fc, and these names and shapes."""
    with torch.device("meta"):
        network = ResNet()
    state = network.state_dict()
    assert network.dim == 2048
    assert sum(value.numel() for value in network.parameters()) == 25_557_032 - 2048 * 1000 - 1000
    assert len(state) == 318
    for name, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.2.conv3.weight": (256, 64, 1, 1),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer3.5.bn2.running_var": (256,),
        "layer4.0.downsample.1.weight": (2048,),
        "layer4.2.bn3.weight": (2048,),
    }.items():
        assert tuple(state[name].shape) == shape, name
    assert all(name.split(".")[1] == "0" for name in state if "downsample" in name)


def test_the_stride_is_in_the_middle_convolution() -> None:
    block = Bottleneck(16, 8, stride=2)
    strides = [block.conv1.stride, block.conv2.stride, block.conv3.stride]
    assert strides == [(1, 1), (2, 2), (1, 1)]
    assert block(torch.rand(1, 16, 8, 8)).shape == (1, 32, 4, 4)


def test_forward_is_the_published_one() -> None:
    """The same network as a list of torch layers, with the ReLU and pooling modules of He et al."""
    network = tiny_resnet()
    x = images = torch.rand(2, 3, 64, 64)
    stem = nn.Sequential(network.conv1, network.bn1, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)).eval()
    with torch.inference_mode():
        x = stem(x)
        assert x.shape == (2, 8, 16, 16)
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            for block in stage:
                first = nn.Sequential(block.conv1, block.bn1, nn.ReLU(), block.conv2, block.bn2, nn.ReLU())
                inner = nn.Sequential(first, block.conv3, block.bn3).eval()
                x = torch.relu(inner(x) + (x if block.downsample is None else block.downsample(x)))
        assert x.shape == (2, 256, 2, 2)
        expected = nn.AdaptiveAvgPool2d(1)(x).flatten(1)
        assert torch.allclose(network(images), expected, atol=1e-5)


class TestTorchvision:
    def test_checkpoint_loads_and_its_classifier_is_ignored(self, tmp_path: Path) -> None:
        network = tiny_resnet()
        state = {**network.state_dict(), "fc.weight": torch.zeros(10, 256), "fc.bias": torch.zeros(10)}
        torch.save(state, tmp_path / "resnet.pth")
        backbone = load_backbone(f"torchvision-resnet50:{tmp_path / 'resnet.pth'}")
        assert backbone.dim == 256
        assert backbone.pretrained_head is None
        assert (backbone.preprocess.resize, backbone.preprocess.crop) == (256, 224)
        assert backbone.preprocess.interpolation == "bilinear"
        images = torch.rand(2, 3, 32, 32)
        with torch.inference_mode():
            assert torch.equal(backbone.embed_images(images), network(images))

    def test_faults_are_listed(self, tmp_path: Path) -> None:
        state = tiny_resnet().state_dict()
        del state["layer3.0.conv2.weight"]
        state["layer2.1.bn1.bias"] = torch.zeros(3)
        torch.save(state, tmp_path / "resnet.pth")
        with pytest.raises(BackboneError, match=r"1 missing \(layer3.0.conv2.weight\).*layer2.1.bn1.bias: \(3,\)"):
            load_backbone(f"torchvision-resnet50:{tmp_path / 'resnet.pth'}")

    def test_other_networks(self, tmp_path: Path) -> None:
        state = {key: value for key, value in tiny_resnet().state_dict().items() if "conv3" not in key}
        torch.save(state, tmp_path / "resnet18.pth")
        with pytest.raises(BackboneError, match="ResNet-18 or 34"):
            load_backbone(f"torchvision-resnet50:{tmp_path / 'resnet18.pth'}")
        torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
        with pytest.raises(BackboneError, match=r"no ResNet with torchvision's names; it has features.0.weight"):
            load_backbone(f"torchvision-resnet50:{tmp_path / 'vgg.pth'}")
        with pytest.raises(BackboneError, match="torchvision-resnet50:FILE"):
            load_backbone("torchvision-resnet50:")


class TestMoco:
    def test_query_encoder_and_head_are_loaded_and_the_rest_ignored(self, tmp_path: Path) -> None:
        network, head = tiny_resnet(), tiny_head()
        torch.save(moco_checkpoint(network, head), tmp_path / "moco.pth.tar")
        backbone = load_backbone(f"moco-v2:{tmp_path / 'moco.pth.tar'}")
        assert backbone.dim == 256
        assert backbone.pretrained_head is not None
        images = torch.rand(2, 3, 32, 32)
        with torch.inference_mode():
            features = backbone.embed_images(images)
            assert torch.equal(features, network(images))
            assert torch.equal(backbone.pretrained_head(features), head(features))
        parameters = [*backbone.tower.parameters(), *backbone.pretrained_head.parameters()]
        assert not any(value.requires_grad for value in parameters)

    def test_for_training_both_are_trainable(self, tmp_path: Path) -> None:
        torch.save(moco_checkpoint(tiny_resnet(), tiny_head()), tmp_path / "moco.pth.tar")
        tower, head = load_moco_v2(tmp_path / "moco.pth.tar")
        assert tower.training
        assert head.training
        assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Linear]
        assert all(value.requires_grad for value in [*tower.parameters(), *head.parameters()])

    @pytest.mark.parametrize("key", ["layer1.0.bn1.running_mean", "fc.0.bias", "fc.2.bias"])
    def test_a_missing_weight_is_named(self, tmp_path: Path, key: str) -> None:
        checkpoint = moco_checkpoint(tiny_resnet(), tiny_head())
        del checkpoint["state_dict"][f"module.encoder_q.{key}"]
        torch.save(checkpoint, tmp_path / "moco.pth.tar")
        with pytest.raises(BackboneError, match=rf"1 missing \({key.removeprefix('fc.')}\)"):
            load_moco_v2(tmp_path / "moco.pth.tar")

    def test_a_head_that_does_not_fit_the_features(self, tmp_path: Path) -> None:
        head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 16))
        torch.save(moco_checkpoint(tiny_resnet(), head), tmp_path / "moco.pth.tar")
        with pytest.raises(
            BackboneError, match=r"0.weight: \(128, 128\) in the file, \(128, 256\) in the network"
        ):
            load_moco_v2(tmp_path / "moco.pth.tar")

    def test_other_checkpoints(self, tmp_path: Path) -> None:
        file = tmp_path / "moco.pth.tar"
        torch.save(moco_checkpoint(tiny_resnet(), nn.Sequential(nn.Linear(256, 16))), file)
        with pytest.raises(BackboneError, match=r"no two-layer head .* MoCo v1"):
            load_moco_v2(file)
        torch.save(tiny_resnet().state_dict(), file)
        with pytest.raises(BackboneError, match=r"no MoCo checkpoint: it has no module.encoder_q"):
            load_moco_v2(file)
        with pytest.raises(BackboneError, match="is not a file"):
            load_moco_v2(tmp_path / "elsewhere.pth.tar")
