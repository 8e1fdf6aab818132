import pytest
import torch

from crosslens.losses.adversarial import domain_accuracy, domain_adversarial
from crosslens.nn.gradient_reversal import DomainClassifier, reversal_strength, reverse_gradient
from testing.golden import read_golden

GOLDEN = read_golden("uem")


def test_encoder_gets_the_opposite_gradient_and_the_classifier_the_same():
    torch.manual_seed(0)
    classifier = DomainClassifier(8, 16)
    a, b = torch.randn(5, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True)
    wanted = [a, b, *classifier.parameters()]
    plain = torch.autograd.grad(domain_adversarial([classifier(a), classifier(b)]), wanted)
    turned = torch.autograd.grad(
        domain_adversarial([classifier(reverse_gradient(x, 0.3)) for x in (a, b)]), wanted
    )
    for before, after in zip(plain[:2], turned[:2], strict=True):
        assert torch.allclose(after, -0.3 * before)
    for before, after in zip(plain[2:], turned[2:], strict=True):
        assert torch.allclose(after, before)


def test_values_pass_unchanged_and_strength_zero_cuts_the_gradient():
    x = torch.randn(3, requires_grad=True)
    y = reverse_gradient(x, 0.0)
    assert torch.equal(x, y)
    y.sum().backward()
    assert torch.equal(x.grad, torch.zeros(3))


@pytest.mark.parametrize(("progress", "strength"), GOLDEN["reversal"].items())
def test_ramp(progress, strength):
    assert reversal_strength(float(progress)) == pytest.approx(strength, abs=1e-12)
    assert reversal_strength(2 * float(progress), 5.0) == pytest.approx(strength, abs=1e-12)
    assert reversal_strength(float(progress), None) == 1


def test_more_than_two_domains_are_told_apart_by_a_softmax():
    torch.manual_seed(0)
    classifier = DomainClassifier(8, 16, domains=3)
    logits = [classifier(torch.randn(count, 8)) for count in (4, 5, 6)]
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([4, 5, 6]))
    expected = torch.nn.functional.cross_entropy(torch.cat(logits), labels)
    assert torch.allclose(domain_adversarial(logits), expected)
    assert torch.allclose(domain_adversarial(logits, "sum"), expected * 15)
    shares = [(rows.argmax(1) == domain).float().mean() for domain, rows in enumerate(logits)]
    assert torch.allclose(domain_accuracy(logits), torch.stack(shares).mean())
