"""One loss step of UCDIR (instance and cluster contrast, both domains), beside the plain formulas.

Both take turns on the same features: N images in each domain's bank, a batch of B in each domain, one clustering.
The plain version is what the formulas say and the authors' code does: a ``(B, N)`` mask of positives per term,
every sum of exponentials written out, the similarities of a query with the bank computed once per loss. Values
and gradients must agree. Both use one thread, since two that wait for each other blur the times on a shared
machine.

    python benchmarks/loss_step.py --json loss_step.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.losses.cluster import cluster_contrast, cluster_means, gate_probability
from crosslens.losses.instance import bank_logits, instance_contrast
from crosslens.support.files import write_json

T = 0.2
GATE = 0.2


def plain_instance(q: Tensor, keys: Tensor, bank: Tensor, index: Tensor) -> Tensor:
    own = torch.exp((q * keys).sum(1) / T)
    others = torch.exp(q @ bank.t() / T)
    mask = torch.ones_like(others).scatter_(1, index[:, None], 0)
    return -torch.log(own / (own + (others * mask).sum(1))).mean()


def plain_cluster(
    q: Tensor, keys: Tensor, bank: Tensor, index: Tensor, assignments: Tensor, prototypes: Tensor
) -> Tensor:
    own = assignments[index]
    mask = (assignments[None, :] == own[:, None]).float()
    similarities = q @ bank.t() / T
    log_probability = similarities - torch.log(torch.exp(similarities).sum(1, keepdim=True))
    each = -(mask * log_probability).sum(1) / mask.sum(1)
    certainty = torch.softmax(keys @ prototypes.t() / T, dim=1).gather(1, own[:, None]).squeeze(1)
    gate = (certainty > GATE).float()
    return (gate * each).sum() / (gate.sum() + 1e-8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4439, help="N, in each domain")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--clusters", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)

    generator = torch.Generator().manual_seed(0)

    def unit(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, options.width, generator=generator), dim=1)

    domains = []
    for _ in range(2):
        bank, prototypes = unit(options.images), unit(options.clusters)
        assignments = (bank @ prototypes.t()).argmax(1)
        index = torch.randperm(options.images, generator=generator)[: options.batch]
        keys = F.normalize(0.5 * bank[index] + 0.5 * prototypes[assignments[index]], dim=1)
        bank[index] = keys
        domains.append((unit(options.batch), keys, bank, index, assignments, prototypes))

    def step(loss: Callable[..., Tensor]) -> tuple[float, list[Tensor]]:
        queries = [domain[0].clone().requires_grad_() for domain in domains]
        total = torch.stack([loss(q, *domain[1:]) for q, domain in zip(queries, domains, strict=True)]).sum()
        gradients = torch.autograd.grad(total, queries)
        return float(total.detach()), list(gradients)

    sizes = [torch.bincount(domain[4], minlength=options.clusters) for domain in domains]
    counted = dict(zip((id(domain[4]) for domain in domains), sizes, strict=True))

    def ours(q, keys, bank, index, assignments, prototypes):  # type: ignore[no-untyped-def]
        logits = bank_logits(q, bank, T)
        own = assignments[index]
        gate = gate_probability(keys, prototypes, own, T) > GATE
        log_total = torch.logsumexp(logits, dim=1)
        instance = instance_contrast(q, keys, bank, index, T, logits, log_total)
        return instance + cluster_contrast(
            q, bank, own, gate, cluster_means(bank, assignments, counted[id(assignments)]), T, log_total
        )

    def plain(q, keys, bank, index, assignments, prototypes):  # type: ignore[no-untyped-def]
        return plain_instance(q, keys, bank, index) + plain_cluster(q, keys, bank, index, assignments, prototypes)

    versions = {"crosslens": ours, "plain formulas": plain}
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    results: dict[str, tuple[float, list[Tensor]]] = {}
    for _ in range(options.repeats):
        for name, version in versions.items():
            started = time.perf_counter()
            results[name] = step(version)
            seconds[name].append(time.perf_counter() - started)
    (value, gradients), (expected, expected_gradients) = results.values()
    difference = max(
        abs(value - expected) / abs(expected),
        *(float((a - b).abs().max()) for a, b in zip(gradients, expected_gradients, strict=True)),
    )
    if difference > 1e-4:
        raise SystemExit(f"the versions disagree by {difference:.2g}")
    median = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    ratio = median["plain formulas"] / median["crosslens"]
    for name, milliseconds in median.items():
        print(f"{name:16s} {milliseconds:7.2f} ms")
    print(f"{ratio:.1f} x as fast; values and gradients differ by {difference:.1e}; load {os.getloadavg()[0]:.1f}")
    if options.json:
        write_json(
            options.json,
            {"median_ms": median, "ratio": ratio, "difference": difference, "load": os.getloadavg()[0]},
        )


if __name__ == "__main__":
    main()
