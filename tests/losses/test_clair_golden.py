"""CLAIR's losses against golden values, slow formulas and properties, in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from crosslens.losses.consistency import consistency
from crosslens.losses.inter_cluster import class_prototypes, inter_cluster_contrast
from crosslens.losses.inter_domain import inter_domain_contrast, inter_domain_instances
from crosslens.losses.inter_instance import inter_instance_contrast
from testing.golden import read_golden

GOLDEN = read_golden("clair")["losses"]


def unit(rows):
    return F.normalize(torch.tensor(rows, dtype=torch.float64), dim=-1)


def random_problem(seed, images=12, batch=5, classes=3, dim=4, is_dropping=True):
    """A bank, labels, weights with some zeros, and a batch whose keys are written into the bank."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return F.normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=1)

    bank, q, keys = draw(images, dim), draw(batch, dim), draw(batch, dim)
    labels = torch.randint(0, classes, (images,), generator=g)
    weights = torch.rand(images, generator=g, dtype=torch.float64)
    if is_dropping:
        weights[torch.rand(images, generator=g) < 0.3] = 0
    index = torch.randperm(images, generator=g)[:batch]
    bank[index] = keys
    return q, keys, bank, index, labels, weights


def slow_inter_instance(q, keys, bank, index, labels, weights, temperature):
    total, mass = 0.0, 0.0
    for i, slot in enumerate(index.tolist()):
        candidates = [(keys[i], labels[slot], 1.0)]
        candidates += [
            (bank[j], labels[j], float(weights[j])) for j in range(len(bank)) if j != slot and weights[j] > 0
        ]
        exps = torch.stack([torch.exp(q[i] @ row / temperature) for row, _, _ in candidates])
        logs = torch.log(exps / exps.sum())
        positives = [(w, logs[k]) for k, (_, label, w) in enumerate(candidates) if label == labels[slot]]
        loss = -sum(w * log for w, log in positives) / sum(w for w, _ in positives)
        total += float(weights[slot]) * float(loss)
        mass += float(weights[slot])
    return total / mass if mass else 0.0


def golden_inter_instance(weights):
    """The golden anchor has no slot of its own in the bank of four, so it gets a fifth."""
    key = unit(GOLDEN["own_key"])[None]
    bank = torch.cat([unit(GOLDEN["bank"]), key])
    labels = torch.tensor([*GOLDEN["labels"], GOLDEN["anchor_class"]])
    return inter_instance_contrast(
        unit(GOLDEN["q"])[None],
        key,
        bank,
        torch.tensor([4]),
        labels,
        torch.tensor([*weights, 1.0], dtype=torch.float64),
        GOLDEN["temperature"],
    )


def test_golden_inter_instance():
    assert float(golden_inter_instance(GOLDEN["weights"])) == pytest.approx(GOLDEN["inter_instance"], abs=1e-6)
    ones = float(golden_inter_instance([1.0] * 4))
    assert ones == pytest.approx(GOLDEN["inter_instance_all_weights_1"], abs=1e-6)


def test_golden_own_key_alone():
    """With an anchor of a class that nobody else has, the own key is the one positive."""
    key = unit(GOLDEN["own_key"])[None]
    bank = torch.cat([unit(GOLDEN["bank"]), key])
    loss = inter_instance_contrast(
        unit(GOLDEN["q"])[None],
        key,
        bank,
        torch.tensor([4]),
        torch.tensor([*GOLDEN["labels"], 3]),
        torch.tensor([*GOLDEN["weights"], 1.0], dtype=torch.float64),
        GOLDEN["temperature"],
    )
    assert float(loss) == pytest.approx(GOLDEN["inter_instance_own_key_only"], abs=1e-6)


def test_golden_prototypes_and_inter_cluster():
    bank, labels = unit(GOLDEN["bank"]), torch.tensor(GOLDEN["labels"])
    weights = torch.tensor(GOLDEN["weights"], dtype=torch.float64)
    prototypes = class_prototypes(bank, labels, weights, 3)
    expected = torch.tensor(GOLDEN["prototypes"], dtype=torch.float64)
    assert torch.allclose(prototypes, expected, atol=1e-6)
    anchor = torch.tensor([GOLDEN["anchor_class"]])
    loss = inter_cluster_contrast(
        unit(GOLDEN["q"])[None], prototypes, anchor, torch.ones(1).double(), GOLDEN["temperature"]
    )
    assert float(loss) == pytest.approx(GOLDEN["inter_cluster"], abs=1e-6)


@given(st.integers(0, 500), st.sampled_from([0.07, 0.2, 1.0]))
def test_inter_instance_is_the_slow_formula(seed, temperature):
    problem = random_problem(seed)
    expected = slow_inter_instance(*problem, temperature)
    assert float(inter_instance_contrast(*problem, temperature)) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 500))
def test_dropped_images_change_nothing(seed):
    q, keys, bank, index, labels, weights = random_problem(seed)
    other = bank.clone()
    outside = torch.ones(len(bank), dtype=torch.bool)
    outside[index] = False
    gone = (weights == 0) & outside
    other[gone] = F.normalize(torch.randn(int(gone.sum()), bank.shape[1], dtype=torch.float64), dim=1)
    changed = labels.clone()
    changed[gone] = (changed[gone] + 1) % 3
    before = inter_instance_contrast(q, keys, bank, index, labels, weights)
    after = inter_instance_contrast(q, keys, other, index, changed, weights)
    assert float(before) == pytest.approx(float(after), abs=1e-9)
    assert torch.allclose(
        class_prototypes(bank * outside[:, None], labels, weights * outside, 3),
        class_prototypes(other * outside[:, None], changed, weights * outside, 3),
    )


@given(st.integers(0, 200))
def test_the_order_of_the_bank_changes_nothing(seed):
    q, keys, bank, index, labels, weights = random_problem(seed)
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))
    place = torch.argsort(order)
    before = inter_instance_contrast(q, keys, bank, index, labels, weights)
    after = inter_instance_contrast(q, keys, bank[order], place[index], labels[order], weights[order])
    assert float(before) == pytest.approx(float(after), abs=1e-9)


def test_only_queries_get_a_gradient():
    q, keys, bank, index, labels, weights = random_problem(1)
    for tensor in (q, keys, bank):
        tensor.requires_grad_(True)
    prototypes = class_prototypes(bank, labels, weights, 3)
    own, anchors = labels[index], weights[index]
    loss = inter_instance_contrast(q, keys, bank, index, labels, weights)
    loss = loss + inter_cluster_contrast(q, prototypes, own, anchors)
    loss = loss + inter_domain_instances(q, own, anchors, bank, labels, weights)
    loss = loss + consistency(q, keys)
    loss.backward()
    assert torch.isfinite(q.grad).all()
    assert float(q.grad.abs().sum()) > 0
    assert keys.grad is None
    assert bank.grad is None


def test_empty_classes_leave_the_denominator_and_their_anchors():
    q = unit([[1.0, 0.0], [0.0, 1.0]])
    full = unit([[1.0, 0.2], [0.3, 1.0]])
    hole = torch.cat([full, torch.zeros(1, 2, dtype=torch.float64)])
    weights = torch.ones(2, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    assert inter_cluster_contrast(q, hole, labels, weights) == pytest.approx(
        float(inter_cluster_contrast(q, full, labels, weights))
    )
    first = inter_cluster_contrast(q[:1], full, labels[:1], weights[:1])
    dropped = inter_domain_contrast(q.requires_grad_(True), hole, torch.tensor([0, 2]), weights)
    assert float(dropped.detach()) == pytest.approx(float(first))
    dropped.backward()
    assert torch.isfinite(q.grad).all()
    assert float(q.grad[1].abs().sum()) == 0


def test_nothing_kept_is_a_loss_of_zero_with_a_finite_gradient():
    q, keys, bank, index, labels, _ = random_problem(3)
    q.requires_grad_(True)
    none = torch.zeros(len(bank), dtype=torch.float64)
    prototypes = class_prototypes(bank, labels, none, 3)
    assert float(prototypes.abs().sum()) == 0
    loss = inter_instance_contrast(q, keys, bank, index, labels, none)
    loss = loss + inter_cluster_contrast(q, prototypes, labels[index], none[index])
    loss = loss + inter_domain_instances(q, labels[index], none[index], bank, labels, none)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(q.grad).all()


@given(st.integers(0, 300))
def test_inter_domain_instances_is_the_slow_formula(seed):
    q, _, _, index, own, anchors = random_problem(seed)
    _, _, bank, _, labels, weights = random_problem(seed + 1000)
    own, anchors, temperature = own[index], anchors[index], 0.2
    total = mass = 0.0
    for i in range(len(q)):
        kept = [j for j in range(len(bank)) if weights[j] > 0]
        positives = [j for j in kept if labels[j] == own[i]]
        if not positives or not anchors[i]:
            continue
        exps = torch.stack([torch.exp(q[i] @ bank[j] / temperature) for j in kept])
        logs = {j: torch.log(exps[k] / exps.sum()) for k, j in enumerate(kept)}
        loss = -sum(weights[j] * logs[j] for j in positives) / sum(weights[j] for j in positives)
        total += float(anchors[i] * loss)
        mass += float(anchors[i])
    found = inter_domain_instances(q, own, anchors, bank, labels, weights, temperature)
    assert float(found) == pytest.approx(total / mass if mass else 0.0, abs=1e-9)


def test_consistency_is_cosine_distance_and_kl():
    student, teacher = unit([[1.0, 0.0], [0.6, 0.8]]), unit([[1.0, 0.0], [1.0, 0.0]])
    assert float(consistency(student, teacher)) == pytest.approx((0 + 0.4) / 2)
    words = unit([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
    p = torch.softmax(teacher @ words.t() / 0.5, dim=1)
    r = torch.softmax(student @ words.t() / 0.5, dim=1)
    kl = float((p * (p / r).log()).sum(1).mean())
    found = consistency(student, teacher, words, vocabulary_weight=2.0, temperature=0.5)
    assert float(found) == pytest.approx(0.2 + 2 * kl)
    assert float(consistency(teacher, teacher, words, 1.0)) == pytest.approx(0)
