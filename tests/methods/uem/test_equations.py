"""UEM's steps against the paper's equations: losses and gradients of both stages, recomputed in float64.

Each check takes the clusters (assignments and centroids), the banks and the networks from the method. It computes
the rest itself: translation, matching, merging, every loss, and what reaches the encoder and the classifier.
"""

import math
from itertools import permutations

import pytest
import torch
from torch.nn import functional as F

import crosslens
from crosslens.methods.uem import structure as uem_structure
from crosslens.methods.uem.learner import Learner
from crosslens.methods.uem.method import SemanticEnhanced, SemanticMatched
from crosslens.nn.gradient_reversal import DomainClassifier
from crosslens.ops.matching import cross_neighbours, vote_pairs

QUICK = {
    "epochs": 5,
    "align_epochs": 3,
    "batch_size": 16,
    "views": 2,
    "head": [32, 16],
    "members": 1,
    "clusters": 5,
    "restarts": 2,
    "instance_weight": 0.7,
    "prototype_weight": 1.3,
    "semantic_weight": 0.6,
    "adversarial_weight": 0.9,
    "preserve_weight": 1.1,
    "match_weight": 0.8,
    "keep_stage1": 0.5,
}
# The quantile merges enough pairs to tell a wrong order of B's clusters.
PAPER = {
    "matching": "distance",
    "frame": "translated",
    "merge_quantile": 1.0,
    "bank": "ema",
    "temperature": 0.07,
    "prototype_start": 0.5,
    "exclude_same_prototype": False,
    "keep_stage1": 0.0,
}
# Without their means the tiny domains have neighbours across.
OURS = {"clusters": [3, 5], "exclude_same_prototype": True, "centre": True}
OPEN = {
    **PAPER,
    "unit_prototypes": False,
    "unit_bank": False,
    "bank_momentum": 0.6,
    "reduction": "sum",
    "negatives": "bank",
    "foreign_negatives": False,
    "detach_weights": True,
    "align_bank": "refresh",
    "reversal_ramp": 3.0,
    "exclude_same_prototype": True,
    "keep_stage1": 0.5,
}


def fit(pictures, out, settings=None, **options):
    return crosslens.fit("uem", pictures, out=out, backbone="tiny", settings=QUICK | (settings or {}), **options)


def stage_entries(run, stage):
    return [entry for entry in run.read_log() if entry["name"].endswith(f"stage-{stage}")]


def rho(a, b):
    """(1 - cos) |a - b| of two vectors."""
    return float((1 - F.cosine_similarity(a, b, dim=0)) * (a - b).norm())


class ByHand:
    """One step of ``uem``, computed anew from its clusters, banks and networks."""

    def __init__(self, trained, epoch, step, start_banks):
        self.trained, self.uem, self.epoch, self.step = trained, trained.learner, epoch, step
        uem, self.config = self.uem, trained.config
        self.start_banks = [bank.double() for bank in start_banks]
        self.banks = [bank.double() for bank in uem.banks]
        batch = uem.batches.get(epoch, step)
        self.index = [index.tolist() for index in batch.index]
        inputs = torch.cat(batch.queries)
        self.z = list(uem.network(inputs).double().split(len(batch.queries[0])))
        if trained.stage == 2:
            self.before = trained.frozen(inputs).detach().double().split(len(batch.queries[0]))

    def structure(self, clustering):
        """Unified prototypes of A and of B, and every cluster's position there: merged, A's own, B's own."""
        a, b = (centroids.double() for centroids in clustering.centroids)
        shift = torch.zeros(a.shape[1], dtype=torch.float64)
        if self.config.frame == "translated":
            shift = self.start_banks[0].mean(0) - self.start_banks[1].mean(0)
        pairs = self.pairs(clustering, a, b + shift)
        raw = [(a[i] + b[j] + shift) / 2 for i, j in pairs]
        places = [{i: u for u, (i, _) in enumerate(pairs)}, {j: u for u, (_, j) in enumerate(pairs)}]
        for place, centroids in zip(places, (a, b + shift), strict=True):
            for cluster in range(len(centroids)):
                if cluster not in place:
                    place[cluster] = len(raw)
                    raw.append(centroids[cluster])
        both = [torch.stack(raw), torch.stack(raw) - shift]
        if self.config.unit_prototypes:
            both = [F.normalize(rows, dim=1) for rows in both]
        return both, places

    def pairs(self, clustering, a, b):
        if self.config.matching == "votes":
            starts = [F.normalize(torch.cat(list(v.centres())), dim=1) for v in self.uem.batches.views]
            found = vote_pairs(*clustering.assignments, cross_neighbours(*starts))
            return torch.stack(found, 1).tolist()
        nearest = [sorted((x - y).norm() for y in rows)[1] for rows in (a, b) for x in rows]
        assert self.config.merge_quantile == 1
        matched = min(
            permutations(range(len(b)), len(a)), key=lambda p: sum((a[i] - b[j]).norm() for i, j in enumerate(p))
        )
        return [(i, j) for i, j in enumerate(matched) if (a[i] - b[j]).norm() < max(nearest)]

    def over_images(self, values):
        total = torch.stack(values).sum()
        return total / len(values) if self.config.reduction == "mean" else total

    def stage1(self, domain):
        """The domain's L_INCE, L_PNCE and L_SEL (eq. 6, 7, 11)."""
        z, bank, t = self.z[domain], self.banks[domain], self.config.temperature
        rows = range(len(bank)) if self.config.negatives == "bank" else sorted(set(self.index[domain]))
        instance = [
            torch.logsumexp(torch.stack([x @ bank[j] for j in rows]) / t, 0) - x @ bank[i] / t
            for x, i in zip(z, self.index[domain], strict=True)
        ]
        prototype, semantic = [], []
        for clustering in self.uem.clusterings:
            both, places = self.structure(clustering)
            p, place = both[domain], places[domain]
            rivals = p if self.config.foreign_negatives else p[sorted(place.values())]
            own = [place[int(clustering.assignments[domain][i])] for i in self.index[domain]]
            each = [torch.logsumexp(rivals @ x / t, 0) - x @ p[u] / t for x, u in zip(z, own, strict=True)]
            prototype.append(self.over_images(each))
            pulls = []
            for x in z:
                weights = torch.softmax(p @ x / t, 0)
                weights = weights.detach() if self.config.detach_weights else weights
                pulls.append(sum(w * (x - y).norm() for w, y in zip(weights, p, strict=True)))
            semantic.append(torch.stack(pulls).mean())
        losses = {"instance": self.over_images(instance)}
        if prototype and (self.trained.stage == 2 or self.schedule > 1e-3):
            losses |= {"prototype": torch.stack(prototype).mean(), "semantic": torch.stack(semantic).mean()}
        return losses

    @property
    def schedule(self):
        return 1 / (1 + math.exp(self.config.prototype_start * self.config.epochs - self.epoch))

    def stage1_total(self, losses, weight):
        c = self.config
        factors = {"instance": c.instance_weight, "prototype": weight * c.prototype_weight}
        factors["semantic"] = weight * c.semantic_weight
        return sum(factors[name] * loss for part in losses for name, loss in part.items())

    def preserving(self, domain):
        """L_SPR (eq. 14)."""
        z, old, total = self.z[domain], self.before[domain], 0
        for i in range(len(z)):
            for j in range(len(z)):
                if i != j:
                    total += (z[i] @ z[j] - old[i] @ old[j]) ** 2
                    total += ((z[i] - z[j]).norm() - (old[i] - old[j]).norm()) ** 2
        return total / len(z) ** 2

    def matching(self, domain):
        """L_SN2M (eq. 15 to 17) and the share of reliable anchors."""
        other, t = 1 - domain, self.config.temperature
        losses, rates = [], []
        for clustering in self.uem.clusterings:
            both, places = self.structure(clustering)
            p, bank = both[other], self.banks[other]
            # A row's prototype is looked up once an epoch, its features are those of now.
            at = [min(range(len(p)), key=lambda u: rho(row, p[u])) for row in self.start_banks[other]]
            each, reliable = [], []
            for x in self.z[domain]:
                near = [rho(x.detach(), centroid.double()) for centroid in clustering.centroids[domain]]
                target = places[domain][near.index(min(near))]
                far = [rho(x.detach(), row) for row in bank]
                neighbour = far.index(min(far))
                reliable.append(at[neighbour] == target)
                positives = [x @ p[target]] + ([x @ bank[neighbour]] if reliable[-1] else [])
                kept = range(len(bank))
                if self.config.exclude_same_prototype:
                    kept = [j for j in kept if at[j] != target or (j == neighbour and reliable[-1])]
                everything = [x @ y for y in p] + [x @ bank[j] for j in kept]
                each.append(
                    torch.logsumexp(torch.stack(everything) / t, 0)
                    - torch.logsumexp(torch.stack(positives) / t, 0)
                )
            losses.append(torch.stack(each).mean())
            rates.append(sum(reliable) / len(reliable))
        return torch.stack(losses).mean(), sum(rates) / len(rates)

    def adversarial(self):
        """L_DAL (eq. 13) of the classifier's own two layers."""
        first, _, second = self.trained.classifier.layers
        each = []
        for z, sign in zip(self.z, (1, -1), strict=True):
            hidden = (z @ first.weight.double().t() + first.bias).clamp_min(0)
            logits = hidden @ second.weight.double()[0] + second.bias
            each += list(-torch.log(torch.sigmoid(sign * logits)))
        return self.over_images(each)

    @property
    def reversal(self):
        done = (self.epoch * self.uem.steps + self.step) / (self.config.align_epochs * self.uem.steps)
        return 2 / (1 + math.exp(-self.config.reversal_ramp * done)) - 1


def close(found, expected):
    scale = max(float(e.abs().max()) for e in expected)
    for f, e in zip(found, expected, strict=True):
        assert torch.allclose(f.double(), e.double(), rtol=1e-3, atol=2e-4 * scale)


def check_stage1(hand, losses):
    uem = hand.uem
    parts = [hand.stage1(domain) for domain in (0, 1)]
    for name, part in zip("ab", parts, strict=True):
        for kind, value in part.items():
            assert float(losses[f"{kind}_{name}"].detach()) == pytest.approx(float(value.detach()), rel=1e-4)
    total = hand.stage1_total(parts, hand.schedule)
    weights = list(uem.network.parameters())
    found = torch.autograd.grad(losses["total"], weights, retain_graph=True)
    close(found, torch.autograd.grad(total, weights))
    return parts


def check_stage2(hand, losses):
    uem, c = hand.uem, hand.config
    adversarial = hand.adversarial()
    total = 0
    for domain, name in enumerate("ab"):
        kept, (match, rate) = hand.preserving(domain), hand.matching(domain)
        assert float(losses[f"preserve_{name}"].detach()) == pytest.approx(
            float(kept.detach()), rel=1e-3, abs=1e-6
        )
        assert float(losses[f"match_{name}"].detach()) == pytest.approx(float(match.detach()), rel=1e-4)
        assert float(losses[f"switch_rate_{name}"]) == pytest.approx(rate)
        total += c.preserve_weight * kept + c.match_weight * match
    assert float(losses["adversarial"].detach()) == pytest.approx(float(adversarial.detach()), rel=1e-4)
    assert float(losses["reversal_strength"]) == pytest.approx(hand.reversal)
    if c.keep_stage1:
        total += c.keep_stage1 * hand.stage1_total([hand.stage1(domain) for domain in (0, 1)], 1.0)
    # The classifier goes down its loss, the encoder up.
    encoder, classifier = list(uem.network.parameters()), list(hand.trained.classifier.parameters())
    found = torch.autograd.grad(losses["total"], encoder + classifier, retain_graph=True)
    turned = total - hand.reversal * c.adversarial_weight * adversarial
    expected = torch.autograd.grad(turned, encoder, retain_graph=True)
    close(found[: len(encoder)], expected)
    plain = torch.autograd.grad(c.adversarial_weight * adversarial, classifier)
    close(found[len(encoder) :], plain)


@pytest.mark.parametrize("settings", [PAPER, OURS, OPEN], ids=["paper", "ours", "open"])
def test_losses_and_gradients_are_the_equations(pictures, tmp_path, monkeypatch, settings):
    checked = {1: 0, 2: 0}
    reordered, merged, rates = [], [], []
    started = {}

    def starting(original):
        def start(self, epoch):
            info = original(self, epoch)
            started["banks"] = [bank.clone() for bank in self.learner.banks]
            return info

        return start

    def stepping(original):
        def step(self, epoch, number):
            losses = original(self, epoch, number)
            if number != 1 or (self.stage == 1 and epoch not in (0, 2, 4)):
                return losses
            hand = ByHand(self, epoch, number, started["banks"])
            if self.stage == 1:
                check_stage1(hand, losses)
            else:
                check_stage2(hand, losses)
                rates.append(float(losses["switch_rate_a"]))
            checked[self.stage] += 1
            for clustering in self.learner.clusterings:
                _, places = hand.structure(clustering)
                both = set(places[0].values()) & set(places[1].values())
                merged.append(len(both))
                at_b = {u: j for j, u in places[1].items()}
                reordered.append(any(at_b[u] != i for i, u in places[0].items() if u in both))
            return losses

        return step

    for stage in (SemanticEnhanced, SemanticMatched):
        monkeypatch.setattr(stage, "start_epoch", starting(stage.start_epoch))
        monkeypatch.setattr(stage, "step", stepping(stage.step))
    fit(pictures, tmp_path / "run", settings)
    assert checked == {1: 3, 2: 3}
    # Otherwise the checks above could not tell a wrong order of clusters, or a match that never switches.
    assert any(reordered)
    assert 0 < min(merged) < 5
    assert any(0 < rate < 1 for rate in rates)


@pytest.mark.parametrize("warm", [True, False])
def test_clusters_start_from_the_epoch_before_where_that_is_asked_for(pictures, tmp_path, monkeypatch, warm):
    kmeans = {"kmeans_start": "k-means++", "restarts": 2, "iterations": 9}
    starts, before = [], []
    begin, original = Learner.begin_epoch, uem_structure.kmeans

    def beginning(self, source):
        before.append([c for clustering in self.clusterings for c in clustering.centroids])
        return begin(self, source)

    def clustering(points, count, **options):
        starts.append((len(before) - 1, count, options["start"]))
        assert (options["first"], options["restarts"], options["iterations"]) == ("k-means++", 2, 9)
        return original(points, count, **options)

    monkeypatch.setattr(Learner, "begin_epoch", beginning)
    monkeypatch.setattr(uem_structure, "kmeans", clustering)
    fit(pictures, tmp_path / "run", {"clusters": [3, 5], "warm_start": warm} | kmeans)
    assert len(starts) == 8 * 4
    assert [given for epoch, _, given in starts if epoch == 0] == [None] * 4
    for number, (epoch, count, given) in enumerate(starts[4:], 4):
        previous = before[epoch][number % 4]
        assert len(previous) == count
        assert torch.equal(given, previous) if warm else given is None


def test_each_part_of_stage_2_has_its_learning_rate(pictures, tmp_path, monkeypatch):
    seen = []
    original = SemanticMatched.step

    def stepping(self, epoch, step):
        seen.append((epoch, self.optimizer.param_groups, self.learner.network, self.classifier))
        return original(self, epoch, step)

    monkeypatch.setattr(SemanticMatched, "step", stepping)
    fit(pictures, tmp_path / "run", {"lr": 0.01, "align_lr": 0.5, "classifier_lr": 7.0, "hidden": 24})
    epoch, groups, network, classifier = seen[-1]
    assert [len(group["params"]) for group in groups] == [len(list(m.parameters())) for m in (network, classifier)]
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in classifier.parameters()}
    assert classifier.layers[0].weight.shape == (24, 16)
    cosine = 0.5 * (1 + math.cos(math.pi * epoch / 3))
    assert [group["lr"] for group in groups] == pytest.approx([0.005 * cosine, 0.035 * cosine])


@pytest.mark.parametrize("pause", [True, False])
def test_a_winning_adversary_is_paused_for_an_epoch_where_that_is_asked_for(
    pictures, tmp_path, monkeypatch, pause
):
    calls = []

    def winning_in_the_first_epoch(self, z):
        calls.append(len(z))
        logits = self.layers(z).squeeze(1)
        # 3 steps an epoch, both domains in turn.
        if len(calls) <= 6:
            return logits * 0 + (9.0 if len(calls) % 2 else -9.0)
        return logits * 0

    monkeypatch.setattr(DomainClassifier, "forward", winning_in_the_first_epoch)
    run = fit(pictures, tmp_path / "run", {"pause_adversary": pause, "reversal_ramp": None})
    log = stage_entries(run, 2)
    assert [entry["discriminator_wins"] for entry in log] == [1, 0, 0]
    # The last epoch is judged as well.
    assert [entry["discriminator_collapsed"] for entry in log] == [0, 1, 1]
    assert [entry["losses"]["reversal_strength"] for entry in log] == [1, 0 if pause else 1, 1]


@pytest.mark.parametrize("ramp", [10.0, 2.0, None])
def test_the_log_has_the_reversals_weight(pictures, tmp_path, ramp):
    run = fit(pictures, tmp_path / "run", {"reversal_ramp": ramp})
    for entry in stage_entries(run, 2):
        done = [(3 * entry["epoch"] + step) / 9 for step in range(3)]
        weights = [1.0 if ramp is None else 2 / (1 + math.exp(-ramp * p)) - 1 for p in done]
        assert entry["losses"]["reversal_strength"] == pytest.approx(sum(weights) / 3, rel=1e-5)
    assert all("reversal_strength" not in entry["losses"] for entry in stage_entries(run, 1))
