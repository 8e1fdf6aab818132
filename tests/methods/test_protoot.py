"""ProtoOT against the authors' functions, its recipes, and what is its own in a fit on tiny pictures."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

import crosslens
from crosslens.methods.base import make_config
from crosslens.methods.protoot import ProtoOTConfig, ProtoOTLosses, Prototypes, nearest_others
from crosslens.methods.two_view import Embedded
from crosslens.ops.sinkhorn import transport_codes
from crosslens.recipes import read_recipe
from testing.golden import read_golden

GOLDEN = read_golden("protoot")
QUICK = {"epochs": 4, "batch_size": 16, "views": 2, "head": [32, 16], "clusters": [3, 5], "cross_epoch": 2}


def det(n, d, a, b, c):
    i = torch.arange(n, dtype=torch.float64)[:, None]
    j = torch.arange(d, dtype=torch.float64)[None, :]
    return F.normalize(torch.sin(a * i + b * j + c * i * j + 0.1), dim=1)


def objective(**settings):
    training = SimpleNamespace(undo=[], letters=["a", "b"], banks=[], device=torch.device("cpu"))
    found = ProtoOTLosses(training, ProtoOTConfig(**settings))
    shares = [[0.3, 0.1, 0.25, 0.15, 0.2], [0.1, 0.4, 0.2, 0.05, 0.25]]
    vectors = [det(5, 16, 1.1, 0.3, 0.2), det(5, 16, 0.9, 0.4, 0.3)]
    found.prototypes = [
        [Prototypes(v, torch.tensor(s, dtype=torch.float64))] for v, s in zip(vectors, shares, strict=True)
    ]
    return found


def parts():
    q = [det(8, 16, 0.31, 0.77, 0.05).requires_grad_(), det(8, 16, 0.41, 0.67, 0.07).requires_grad_()]
    keys = [det(8, 16, 0.33, 0.75, 0.05), det(8, 16, 0.43, 0.65, 0.07)]
    index = [torch.tensor([3, 7, 0, 12, 39, 21, 5, 18]), torch.tensor([1, 4, 29, 0, 17, 9, 22, 13])]
    banks = [det(40, 16, 0.7, 1.3, 0.11), det(30, 16, 0.5, 0.9, 0.17)]
    for bank, slots, rows in zip(banks, index, keys, strict=True):
        bank[slots] = rows
    return [Embedded(*part) for part in zip(q, keys, index, banks, strict=True)]


def gradients(loss, given):
    return [float(g.norm()) for g in torch.autograd.grad(loss, [part.q for part in given])]


def test_codes_are_the_authors():
    bank, prototypes = parts()[0].bank, objective().prototypes[0][0]
    scores = F.normalize(bank @ prototypes.vectors.t(), dim=1)
    codes = transport_codes(scores, prototypes.shares, 0.05, 3)
    assert torch.allclose(codes[:4], torch.tensor(GOLDEN["codes_a"], dtype=torch.float64), atol=1e-9)
    assert codes.sum(0).tolist() == pytest.approx(GOLDEN["codes_sums"], abs=1e-8)


@pytest.mark.parametrize("published", [True, False])
def test_within_a_domain_losses_gradients_and_moved_prototypes_are_the_authors(published):
    found, given = objective(published=published), parts()
    total = found.losses(0, given)["total"]
    assert total.item() == pytest.approx(GOLDEN["in_domain"]["value"], abs=1e-10)
    assert gradients(total, given) == pytest.approx(GOLDEN["in_domain"]["gradient"], abs=1e-9)
    for name, several in zip("ab", found.prototypes, strict=True):
        assert several[0].vectors[:, 0].tolist() == pytest.approx(GOLDEN[f"moved_{name}"], abs=1e-9)


def test_across_domains_it_is_the_authors_where_asked_to_be():
    found, given = objective(published=True, cross_weight=1, cross_epoch=0), parts()
    losses = found.losses(0, given)
    across = losses["cross_a"] + losses["cross_b"]
    assert across.item() == pytest.approx(GOLDEN["cross_domain"]["value"], abs=1e-10)
    assert gradients(across, given) == pytest.approx(GOLDEN["cross_domain"]["gradient"], abs=1e-9)


def test_across_domains_the_prototypes_bring_their_own_shares_and_cosines():
    found, given = objective(cross_weight=1, cross_epoch=0), parts()
    losses = found.losses(0, given)
    for domain, name in enumerate("ab"):
        theirs, part = found.prototypes[1 - domain][0], given[domain]
        scores = F.normalize(part.bank @ theirs.vectors.t(), dim=1)
        own = transport_codes(scores, theirs.shares, 0.05, 3)[part.index].argmax(1)
        wanted = F.cross_entropy(part.q @ theirs.vectors.t() / 0.2, own)
        assert losses[f"cross_{name}"].item() == pytest.approx(wanted.item())


def test_an_image_is_not_its_own_neighbour():
    part = parts()[0]
    for key, slot, found in zip(part.keys, part.index.tolist(), nearest_others(part).tolist(), strict=True):
        scores = [(float(key @ row), n) for n, row in enumerate(part.bank) if n != slot]
        assert found == max(scores)[1]


def test_a_step_that_is_taken_back_leaves_the_prototypes():
    found = objective()
    before = found.prototypes
    found.losses(0, parts())
    assert found.prototypes is not before
    found.training.undo.pop()()
    assert found.prototypes is before


@pytest.mark.parametrize(("name", "clusters"), [("protoot-office-home", 65), ("protoot-domainnet", 7)])
def test_recipes_hold_the_published_values(name, clusters):
    recipe = read_recipe(name)
    assert (recipe["method"], recipe["tune"]) == ("protoot", "full")
    c = make_config(ProtoOTConfig, recipe["settings"], "protoot")
    assert (c.clusters, c.neighbour_weight, c.prototype_weight, c.cross_weight) == ((clusters,), 0.5, 0.1, 0.01)
    assert (c.transport_temperature, c.transport_rounds, c.temperature, c.ema) == (0.05, 3, 0.2, 0.999)
    assert (c.epochs, c.cross_epoch, c.batch_size, c.lr, c.weight_decay) == (200, 100, 64, 2.5e-4, 5e-4)
    assert (c.restarts, c.iterations, c.head, c.members, c.order) == (20, 50, (2048, 128), 1, "joint")
    assert c.published
    assert c.pretrained_head


def test_its_terms_add_up_and_the_other_domain_comes_late(pictures, tmp_path):
    run = crosslens.fit(
        "protoot", pictures, out=tmp_path / "run", backbone="tiny", settings=QUICK | {"members": 1}
    )
    log = run.read_log()
    assert [("cross_a" in entry["losses"]) for entry in log] == [False, False, True, True]
    assert all(entry["clusters_a"] == 5 for entry in log)
    last = log[-1]["losses"]
    total = sum(
        last[f"view_{n}"] + 0.5 * last[f"neighbour_{n}"] + 0.1 * last[f"prototype_{n}"] + 0.3 * last[f"cross_{n}"]
        for n in "ab"
    )
    assert last["total"] == pytest.approx(total, rel=1e-5)
    assert last["view_a"] < log[0]["losses"]["view_a"]
    assert 0.2 < crosslens.evaluate(run.folder).metrics["map@all"] <= 1


def test_published_shares_are_new_and_prototypes_are_kept(pictures, tmp_path, monkeypatch):
    """Each epoch's clusters bring their shares to the prototypes of the epoch before."""
    seen = []
    start = ProtoOTLosses.start_epoch

    def watched(self, epoch):
        before = [several[0].vectors for several in self.prototypes]
        start(self, epoch)
        seen.append(
            [torch.equal(b, several[0].vectors) for b, several in zip(before, self.prototypes, strict=False)]
        )
        assert all(float(several[0].shares.sum()) == pytest.approx(1) for several in self.prototypes)
        return {}

    monkeypatch.setattr(ProtoOTLosses, "start_epoch", watched)
    for published in (True, False):
        settings = QUICK | {"epochs": 2, "members": 1, "published": published}
        crosslens.fit("protoot", pictures, out=tmp_path / str(published), backbone="tiny", settings=settings)
    assert seen == [[], [True, True], [], [False, False]]


def test_an_oracle_gives_the_true_count_and_says_so(pictures, tmp_path):
    settings = QUICK | {"epochs": 2, "members": 1}
    run = crosslens.fit("protoot", pictures, out=tmp_path / "run", backbone="tiny", settings=settings, oracle=True)
    assert all((entry["clusters_a"], entry["clusters_b"]) == (4, 4) for entry in run.read_log())
    assert run.oracle_folder.exists()
    assert any("oracle" in mark for mark in crosslens.evaluate(run.folder).marks)
