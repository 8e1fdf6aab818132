"""UCDIR's recipes: the authors' settings, the totals their training log shows; and a fit on real images."""

import pytest
import torch

import crosslens
from crosslens.evaluation.compare import compare_evaluations
from crosslens.methods.base import make_config
from crosslens.methods.tuned import weighted_total
from crosslens.methods.ucdir import UCDIRConfig, cluster_weight
from crosslens.recipes import read_recipe
from testing.golden import read_golden

TRAJECTORY = read_golden("ucdir_trajectory")["rows"]
# Spec 5.2: C, w_max, tau_SE, lam_SE, lam_DD, tau_DD.
PUBLISHED = {
    "ucdir-office-home": ((65,), 0.5, 0.01, 1.0, 0.5, 0.01),
    "ucdir-domainnet": ((7,), 1.0, 0.1, 0.5, 0.1, 0.01),
}


def recipe_config(name):
    recipe = read_recipe(name)
    assert (recipe["method"], recipe["tune"]) == ("ucdir", "full")
    config = make_config(UCDIRConfig, recipe["settings"], "ucdir")
    assert isinstance(config, UCDIRConfig)
    return config


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_hold_the_published_values(name):
    c = recipe_config(name)
    weights = (c.clusters, c.cluster_weight, c.entropy_temperature, c.entropy_weight, c.distance_weight)
    assert (*weights, c.distance_temperature) == PUBLISHED[name]
    assert (c.epochs, c.batch_size, c.optimizer, c.lr, c.weight_decay, c.ema) == (
        200,
        64,
        "sgd",
        2e-4,
        1e-4,
        0.999,
    )
    assert (c.temperature, c.gate, c.restarts, c.iterations) == (0.2, 0.2, 5, 20)
    assert (c.cluster_epoch, c.align_epoch, c.head, c.members) == (20, 100, (2048, 128), 1)
    assert (c.pretrained_head, c.order, c.centre, c.warm_start) == (True, "joint", False, False)
    assert c.least_steps == 1


@pytest.mark.parametrize("row", TRAJECTORY, ids=lambda row: f"epoch-{row['epoch']}")
def test_the_total_of_the_authors_log(row):
    """The meters of a published log add up to its total with the recipe's weights and schedule."""
    config = recipe_config("ucdir-office-home")
    epoch = row["epoch"]
    terms = [(0.5, v) for v in row["instance"]] + [
        (0.5 * cluster_weight(config, epoch), v) for v in row.get("cluster", [])
    ]
    if "entropy" in row:
        assert epoch >= config.align_epoch
        terms += [(config.entropy_weight, row["entropy"]), (config.distance_weight, row["distance"])]
    total = weighted_total([(weight, torch.tensor(value)) for weight, value in terms])
    # The log rounds seven numbers, the largest to 0.0005.
    assert total.item() == pytest.approx(row["total"], abs=2e-3)


@pytest.mark.slow
@pytest.mark.pacs
def test_it_lifts_real_images_without_labels(pacs_root, tmp_path):
    """Photos and cartoons, one head: well above per-domain centring, which is above frozen features."""
    found = {}
    for name in ("frozen", "centred", "ucdir"):
        settings = {"members": 1} if name == "ucdir" else {}
        run = crosslens.fit(
            name, pacs_root, domains=("photo", "cartoon"), out=tmp_path / name, settings=settings, seed=0
        )
        found[name] = crosslens.evaluate(run.folder)
    assert found["frozen"].metrics["map@all"] < found["centred"].metrics["map@all"]
    gain = compare_evaluations(found["centred"], found["ucdir"], "map@all")
    assert gain.difference > 0.05
    assert gain.p_value < 0.01
