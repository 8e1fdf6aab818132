"""Prompts in a tiny CLIP with random weights."""

import copy

import pytest
import torch
from torch.nn import functional as F

from crosslens.backbones import load_backbone
from crosslens.nn.momentum import momentum_copy, momentum_update
from crosslens.nn.prompts import PromptedTower, PromptShape
from crosslens.support.errors import ConfigError
from testing.published_models import save_clip
from testing.tiny_backbone import TinyTower


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return load_backbone(f"clip:{folder}").tower


def shape(**changes):
    return PromptShape(domains=("photo", "sketch"), **{"domain_tokens": 3, "shared_tokens": 4, **changes})


def test_without_prompts_it_is_the_tower_itself(tower):
    images = torch.rand(3, 3, 16, 16)
    bare = PromptedTower(tower, shape(domain_tokens=0, shared_tokens=0)).eval()
    with torch.inference_mode():
        assert torch.allclose(bare(images, 0), tower(images), atol=1e-6)


def test_prompts_follow_the_patches_and_index_0_is_read(tower):
    """Against the forward pass written out: prompts behind the embedded patches, before the first norm."""
    images = torch.rand(2, 3, 16, 16)
    network = PromptedTower(tower, shape(), seed=5).eval()
    vision = network.tower.vision
    with torch.inference_mode():
        for domain in (0, 1):
            tokens = vision.embeddings(images)
            assert tokens.shape[1] == 1 + 4
            prompts = torch.cat([network.own[domain][0], network.shared[0]])
            tokens = torch.cat([tokens, prompts.expand(2, -1, -1)], dim=1)
            assert tokens.shape[1] == 1 + 4 + 3 + 4
            states = vision.encoder(inputs_embeds=vision.pre_layrnorm(tokens)).last_hidden_state
            expected = network.tower.projection(vision.post_layernorm(states[:, 0]))
            assert torch.allclose(network(images, domain), expected, atol=1e-6)
        assert not torch.allclose(network(images, 0), network(images, 1))
        assert torch.allclose(network.for_domain("sketch")(images), network(images, 1))
        assert torch.allclose(network.for_domain("never seen")(images), network(images, None))
        assert not torch.allclose(network(images, None), network(images, 0))


def test_only_prompts_and_norms_learn(tower):
    before = copy.deepcopy(tower.state_dict())
    network = PromptedTower(tower, shape())
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {"own.0", "own.1", "shared"} <= learning
    assert all("norm" in name or "layrnorm" in name for name in learning - {"own.0", "own.1", "shared"})
    assert any("layer_norm1" in name for name in learning)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=10.0)
    network(torch.rand(2, 3, 16, 16), 0).square().sum().backward()
    frozen = [p for p in network.parameters() if not p.requires_grad]
    assert frozen
    assert all(p.grad is None for p in frozen)
    assert network.own[1].grad is None
    optimizer.step()
    assert all(torch.equal(before[key], value) for key, value in tower.state_dict().items())
    still = PromptedTower(tower, shape(norms=False))
    assert {name for name, p in still.named_parameters() if p.requires_grad} == {"own.0", "own.1", "shared"}


def test_the_momentum_copy_shares_what_is_frozen(tower):
    network = PromptedTower(tower, shape())
    slow = momentum_copy(network)
    names = [name for name, _ in network.named_parameters()]
    pairs = {n: (f, s) for n, f, s in zip(names, network.parameters(), slow.parameters(), strict=True)}
    for fast, twin in pairs.values():
        assert (fast.data_ptr() == twin.data_ptr()) == (not fast.requires_grad)
    weights = {name: twin.clone() for name, (_, twin) in pairs.items()}
    # An average of equal tensors changes nothing.
    momentum_update(slow, network, 0.9)
    assert all(torch.allclose(weights[name], twin, atol=1e-7) for name, (_, twin) in pairs.items())
    with torch.no_grad():
        network.shared += 1
    momentum_update(slow, network, 0.9)
    assert torch.allclose(slow.shared, weights["shared"] + 0.1, atol=1e-6)


def test_deep_prompts_enter_each_layer_anew(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    from crosslens.backbones.clip import ImageTower
    from testing.published_models import VISION

    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(vision_config={**VISION, "num_hidden_layers": 3}, projection_dim=8)).eval()
    tower = ImageTower(model.vision_model, model.visual_projection)
    images = torch.rand(2, 3, 16, 16)
    deep = PromptedTower(tower, shape(depth=2)).eval()
    assert deep.shared.shape == (2, 4, 16)
    with torch.inference_mode():
        first = deep(images, 0)
        deep.shared[1] += 1.0
        assert not torch.allclose(deep(images, 0), first)
        deep.shared[1] -= 1.0
        # With the first layer's outcome in the second layer's place, deep is shallow.
        shallow = PromptedTower(tower, shape()).eval()
        assert torch.allclose(F.normalize(deep(images, 0)), F.normalize(first), atol=1e-5)
        assert not torch.allclose(shallow(images, 0), first)
    with pytest.raises(ConfigError, match=r"prompts in 4 layers.*has 3"):
        PromptedTower(tower, shape(depth=4))


def test_learned_parts_travel_alone(tower):
    network = PromptedTower(tower, shape(), seed=1)
    with torch.no_grad():
        for p in network.parameters():
            if p.requires_grad:
                p += 0.3
    learned = network.learned()
    assert not [name for name in learned if "mlp" in name or "attn" in name]
    twin = PromptedTower(tower, shape(), seed=2)
    twin.load_learned(learned)
    images = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(twin.eval()(images, 1), network.eval()(images, 1))
    with pytest.raises(KeyError):
        twin.load_learned({"shared": learned["shared"]})


def test_other_towers_are_refused():
    with pytest.raises(ConfigError, match=r"vision transformer of a CLIP.*--tune head"):
        PromptedTower(TinyTower(), shape())
