"""UCDIR's losses against golden values computed in float64 with the authors' functions, gradients included."""

import pytest
import torch
from torch.nn import functional as F

from crosslens.losses.cluster import cluster_contrast, cluster_means, gate_probability
from crosslens.losses.distance import distance_of_distance, unit_assignments
from crosslens.losses.entropy import assignment_entropy, self_entropy
from crosslens.losses.instance import bank_logits, instance_contrast
from testing.golden import read_golden

GOLDEN = read_golden("ucdir")


def det(n, d, a, b, c):
    i = torch.arange(n, dtype=torch.float64)[:, None]
    j = torch.arange(d, dtype=torch.float64)[None, :]
    return F.normalize(torch.sin(a * i + b * j + c * i * j + 0.1), dim=1)


class Inputs:
    def __init__(self, dtype=torch.float64):
        self.q = [det(8, 16, 0.31, 0.77, 0.05), det(8, 16, 0.41, 0.67, 0.07)]
        self.keys = [det(8, 16, 0.33, 0.75, 0.05), det(8, 16, 0.43, 0.65, 0.07)]
        self.index = [torch.tensor([3, 7, 0, 12, 39, 21, 5, 18]), torch.tensor([1, 4, 29, 0, 17, 9, 22, 13])]
        self.banks = [det(40, 16, 0.7, 1.3, 0.11), det(30, 16, 0.5, 0.9, 0.17)]
        for bank, index, keys in zip(self.banks, self.index, self.keys, strict=True):
            bank[index] = keys
        self.prototypes = [det(5, 16, 1.1, 0.3, 0.2), det(5, 16, 0.9, 0.4, 0.3)]
        self.assignments = [(b @ p.t()).argmax(1) for b, p in zip(self.banks, self.prototypes, strict=True)]
        for name in ("q", "keys", "banks", "prototypes"):
            setattr(self, name, [t.to(dtype) for t in getattr(self, name)])
        for q in self.q:
            q.requires_grad_(True)

    def instance(self, domain):
        return instance_contrast(self.q[domain], self.keys[domain], self.banks[domain], self.index[domain], 0.2)

    def cluster(self, domain, threshold, assignments=None, gate_on=None):
        own = (self.assignments if assignments is None else assignments)[domain]
        gate_own, prototypes = gate_on or (self.assignments[domain], self.prototypes[domain])
        gate = gate_probability(self.keys[domain], prototypes, gate_own[self.index[domain]], 0.2) > threshold
        means = cluster_means(self.banks[domain], own, torch.bincount(own))
        return cluster_contrast(
            self.q[domain], self.banks[domain], own[self.index[domain]], gate, means, temperature=0.2
        )

    def total(self, threshold):
        halves = [self.instance(d) + 0.5 * self.cluster(d, threshold) for d in (0, 1)]
        entropy = self_entropy(self.q, self.prototypes, 0.1)
        distance = distance_of_distance(self.q, tuple(self.prototypes), 0.01)
        return sum(halves) / 2 + 1.0 * entropy + 0.5 * distance

    def gradients(self, loss):
        return [
            float(g.norm()) if g is not None else 0.0 for g in torch.autograd.grad(loss, self.q, allow_unused=True)
        ]


@pytest.fixture
def inputs():
    return Inputs()


def test_assignments(inputs):
    assert inputs.assignments[0].tolist() == GOLDEN["assignments_a"]
    assert inputs.assignments[1].tolist() == GOLDEN["assignments_b"]


@pytest.mark.parametrize("domain", [0, 1])
def test_instance(inputs, domain):
    loss = inputs.instance(domain)
    assert loss.item() == pytest.approx(GOLDEN["instance"]["value"][domain], abs=1e-9)
    assert inputs.gradients(loss)[domain] == pytest.approx(GOLDEN["instance"]["gradient"][domain], abs=1e-9)


@pytest.mark.parametrize("domain", [0, 1])
@pytest.mark.parametrize("threshold", [0.2, 0.6])
def test_cluster(inputs, domain, threshold):
    golden = GOLDEN[f"cluster_gate_{threshold}"]
    loss = inputs.cluster(domain, threshold)
    assert loss.item() == pytest.approx(golden["value"][domain], abs=1e-7)
    assert inputs.gradients(loss)[domain] == pytest.approx(golden["gradient"][domain], abs=1e-7)


def test_gate_probabilities(inputs):
    for domain, name in enumerate("ab"):
        own = inputs.assignments[domain][inputs.index[domain]]
        probability = gate_probability(inputs.keys[domain], inputs.prototypes[domain], own, 0.2)
        assert probability.tolist() == pytest.approx(GOLDEN[f"gate_probability_{name}"], abs=5e-5)


def test_entropy(inputs):
    pairs = [assignment_entropy(q, p, 0.1) for q in inputs.q for p in inputs.prototypes]
    assert [p.item() for p in pairs] == pytest.approx(GOLDEN["entropies"], abs=1e-9)
    loss = self_entropy(inputs.q, inputs.prototypes, 0.1)
    assert loss.item() == pytest.approx(GOLDEN["self_entropy"]["value"], abs=1e-9)
    assert inputs.gradients(loss) == pytest.approx(GOLDEN["self_entropy"]["gradient"], abs=1e-9)


def test_distance_of_distance(inputs):
    terms = [distance_of_distance([q], tuple(inputs.prototypes), 0.01).item() for q in inputs.q]
    assert terms == pytest.approx(GOLDEN["distance_terms"], abs=1e-9)
    loss = distance_of_distance(inputs.q, tuple(inputs.prototypes), 0.01)
    assert loss.item() == pytest.approx(GOLDEN["distance_of_distance"]["value"], abs=1e-9)
    assert inputs.gradients(loss) == pytest.approx(GOLDEN["distance_of_distance"]["gradient"], abs=1e-9)


@pytest.mark.parametrize("threshold", [0.2, 0.6])
def test_total(inputs, threshold):
    golden = GOLDEN[f"total_gate_{threshold}"]
    loss = inputs.total(threshold)
    assert loss.item() == pytest.approx(golden["value"], abs=1e-7)
    assert inputs.gradients(loss) == pytest.approx(golden["gradient"], abs=1e-7)


def test_two_cluster_counts_with_the_cumulative_mask(inputs):
    golden = GOLDEN["two_counts"]
    second = [det(3, 16, 1.7, 0.2, 0.4), det(3, 16, 1.9, 0.6, 0.5)]
    for domain in (0, 1):
        coarse = (inputs.banks[domain] @ second[domain].t()).argmax(1)
        both = inputs.assignments[domain] * 3 + coarse
        both = torch.unique(both, return_inverse=True)[1]
        first = inputs.cluster(domain, 0.2)
        joint = inputs.cluster(domain, 0.2, assignments=[both, both], gate_on=(coarse, second[domain]))
        assert ((first + joint) / 2).item() == pytest.approx(golden["cluster"][domain], abs=1e-7)
    entropy = [self_entropy(inputs.q, p, 0.1) for p in (inputs.prototypes, second)]
    distance = [distance_of_distance(inputs.q, tuple(p), 0.01) for p in (inputs.prototypes, second)]
    assert (sum(entropy) / 2).item() == pytest.approx(golden["self_entropy"], abs=1e-9)
    assert (sum(distance) / 2).item() == pytest.approx(golden["distance_of_distance"], abs=1e-9)


def test_float32_agrees():
    inputs = Inputs(torch.float32)
    assert inputs.total(0.2).item() == pytest.approx(GOLDEN["total_gate_0.2"]["value"], rel=5e-6)


def plain_instance(q, keys, bank, index, temperature):
    losses = []
    for i in range(len(q)):
        positive = torch.exp(q[i] @ keys[i] / temperature)
        negatives = [torch.exp(q[i] @ bank[j] / temperature) for j in range(len(bank)) if j != index[i]]
        losses.append(-torch.log(positive / (positive + sum(negatives))))
    return sum(losses) / len(losses)


def plain_cluster(q, bank, assignments, index, gate, temperature):
    losses, count = [], 0.0
    for i in range(len(q)):
        if not gate[i]:
            continue
        exps = torch.exp(bank @ q[i] / temperature)
        positives = [j for j in range(len(bank)) if assignments[j] == assignments[index[i]]]
        logs = [torch.log(exps[j] / exps.sum()) for j in positives]
        losses.append(-sum(logs) / len(positives))
        count += 1
    return sum(losses) / (count + 1e-8) if losses else torch.zeros(())


@pytest.mark.parametrize("repeats", [False, True], ids=["distinct", "repeated"])
@pytest.mark.parametrize("seed", range(4))
def test_shared_logits_equal_the_plain_formulas_also_for_repeated_images(seed, repeats):
    generator = torch.Generator().manual_seed(seed)

    def rows(n):
        return F.normalize(torch.randn(n, 6, generator=generator, dtype=torch.float64), dim=1)

    q, keys, bank = rows(5).requires_grad_(True), rows(5), rows(20)
    index = torch.tensor([2, 7, 7 if repeats else 11, 19, 0])
    bank[index] = keys
    assignments = torch.randint(0, 3, (20,), generator=generator)
    gate = torch.tensor([True, False, True, True, seed % 2 == 0])
    logits = bank_logits(q, bank, 0.2)
    means = cluster_means(bank, assignments, torch.bincount(assignments, minlength=3))
    log_total = torch.logsumexp(logits, 1)
    fast = instance_contrast(q, keys, bank, index, 0.2, logits, log_total) + cluster_contrast(
        q, bank, assignments[index], gate, means, 0.2, log_total
    )
    plain = plain_instance(q, keys, bank, index, 0.2) + plain_cluster(q, bank, assignments, index, gate, 0.2)
    assert fast.item() == pytest.approx(plain.item(), abs=1e-7)
    a, b = torch.autograd.grad(fast, q)[0], torch.autograd.grad(plain, q)[0]
    assert torch.allclose(a, b, atol=1e-7)


def test_several_clusterings_at_once_give_the_mean_of_their_losses(inputs):
    q, bank, index = inputs.q[0], inputs.banks[0], inputs.index[0]
    generator = torch.Generator().manual_seed(0)
    assignments = [torch.randint(0, count, (40,), generator=generator) for count in (3, 5)]
    means = [
        cluster_means(bank, a, torch.bincount(a, minlength=c)) for a, c in zip(assignments, (3, 5), strict=True)
    ]
    gates = torch.rand(2, 8, generator=generator) > 0.4
    one_by_one = [cluster_contrast(q, bank, assignments[k][index], gates[k], means[k], 0.2) for k in (0, 1)]
    own = torch.stack([assignments[0][index], assignments[1][index] + 3])
    together = cluster_contrast(q, bank, own, gates, torch.cat(means), 0.2)
    assert together.item() == pytest.approx(sum(loss.item() for loss in one_by_one) / 2, abs=1e-12)


def test_means_of_clusters_are_those_of_a_matrix_with_a_row_a_cluster():
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    assignments = torch.randint(0, 4, (40,), generator=generator)
    sizes = torch.bincount(assignments, minlength=6)
    members = F.one_hot(assignments, 6).t().double()
    dense = members / members.sum(1, keepdim=True).clamp_min(1) @ bank[:40]
    assert torch.allclose(cluster_means(bank, assignments, sizes), dense, atol=1e-14)
    assert not dense[4:].any()


def test_everything_gated_out_costs_nothing(inputs):
    loss = inputs.cluster(0, 2.0)
    assert loss.item() == 0.0
    assert inputs.gradients(loss)[0] == 0.0


def test_distance_of_distance_compares_cosine_distances_of_assignments():
    torch.manual_seed(0)
    q = [F.normalize(torch.randn(n, 4, dtype=torch.float64), dim=1) for n in (5, 5)]
    prototypes = [F.normalize(torch.randn(n, 4, dtype=torch.float64), dim=1) for n in (3, 6)]
    terms = []
    for rows in q:
        soft = [torch.softmax(rows @ p.t() / 0.1, 1) for p in prototypes]
        total = 0.0
        for i in range(5):
            for j in range(5):
                a, b = (1 - F.cosine_similarity(s[i], s[j], dim=0) for s in soft)
                total += float((a - b + 1e-6) ** 2)
        terms.append(total / 5)
    assert distance_of_distance(q, tuple(prototypes), 0.1).item() == pytest.approx(sum(terms) / 2, abs=1e-9)
    lengths = unit_assignments(q[0], prototypes[0], 0.1).norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths))


def test_distance_of_distance_of_three_domains_is_the_mean_over_every_two():
    torch.manual_seed(0)
    q = [F.normalize(torch.randn(6, 8, dtype=torch.float64), dim=1) for _ in range(3)]
    prototypes = [F.normalize(torch.randn(4, 8, dtype=torch.float64), dim=1) for _ in range(3)]
    pairs = [(prototypes[i], prototypes[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    expected = sum(distance_of_distance(q, pair, 0.1).item() for pair in pairs) / 3
    assert distance_of_distance(q, prototypes, 0.1).item() == pytest.approx(expected, abs=1e-12)
