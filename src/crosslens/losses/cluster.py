"""Cluster-wise contrast with its confidence gate (UCDIR ``builder.py``)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.losses.instance import bank_logits


def gate_probability(keys: Tensor, prototypes: Tensor, cluster: Tensor, temperature: float = 0.2) -> Tensor:
    """How sure an image is of its own cluster: ``p_i = softmax_c(k_i.P_c / T)`` at its own cluster.

    Args:
        keys: keys ``(B, d)``, unit rows (the key feature, not the query's).
        prototypes: unit prototypes ``(C, d)`` of the same domain.
        cluster: own cluster ``(B,)`` in 0..C-1.
        temperature: T > 0.

    Returns:
        ``(B,)`` in (0, 1].
    """
    probability = torch.softmax(keys.detach() @ prototypes.detach().t() / temperature, dim=1)
    return probability.gather(1, cluster[:, None]).squeeze(1)


def cluster_means(bank: Tensor, assignments: Tensor, sizes: Tensor) -> Tensor:
    """The mean bank entry of each cluster ``(C, d)``, in time and memory of the bank; 0 where a cluster is empty.

    Args:
        bank: memory bank ``(M, d)``; rows behind the first N are of no cluster.
        assignments: cluster of every bank slot ``(N,)``.
        sizes: how many slots each cluster has ``(C,)``.
    """
    sums = bank.new_zeros(len(sizes), bank.shape[1])
    sums.index_add_(0, assignments, bank[: len(assignments)].detach())
    return sums / sizes.to(bank.dtype).clamp_min(1)[:, None]


def cluster_contrast(
    q: Tensor,
    bank: Tensor,
    cluster: Tensor,
    gate: Tensor,
    means: Tensor,
    temperature: float = 0.2,
    log_total: Tensor | None = None,
) -> Tensor:
    """Cluster-wise contrast L_C: every bank entry of the own cluster is a positive.

    ``l_i = lse_m(s_im) - mean_{j in cluster(i)} s_ij`` and ``L_C = sum_i g_i l_i / (sum_i g_i + 1e-8)``. The
    denominator of l_i runs over all N slots, positives and own key included. Since s is linear in the bank, the
    mean over positives is a product with the cluster's mean bank entry: no ``(B, N)`` mask is built.

    Several clusterings (counts) of one domain go in one call: with K of them the loss is the mean over them.

    Args:
        q: queries ``(B, d)``, unit rows; the gradient flows here alone.
        bank: memory bank ``(N, d)`` of this domain, with the batch's keys already written.
        cluster: row of ``means`` that is the own cluster, ``(B,)`` or ``(K, B)``.
        gate: 0/1 or bool, shaped like ``cluster``: who is sure enough (``gate_probability > threshold``).
        means: ``cluster_means(...)`` of this domain, ``(C, d)``; of K clusterings one below the other.
        temperature: T > 0.
        log_total: ``logsumexp(bank_logits(q, bank, temperature))`` of each query ``(B,)`` when already at hand;
            several cluster counts share it.

    Returns:
        A scalar; 0 when every image is gated out.
    """
    if log_total is None:
        log_total = torch.logsumexp(bank_logits(q, bank, temperature), dim=1)
    attraction = (q * means[cluster]).sum(-1) / temperature
    weight = gate.to(q.dtype)
    return ((weight * (log_total - attraction)).sum(-1) / (weight.sum(-1) + 1e-8)).mean()


def prototype_contrast(q: Tensor, prototypes: Tensor, cluster: Tensor, temperatures: Tensor) -> Tensor:
    """The prototype term of ProtoNCE: a softmax over all prototypes, each with its own temperature (PCL, eq. 11).

    ``mean_i -log( exp(q_i.c_s/phi_s) / sum_c exp(q_i.c_c/phi_c) )`` with s the own cluster. PCL draws a few
    thousand negatives where there are many prototypes; here all of them take part.

    Args:
        q: queries ``(B, d)``, unit rows; the gradient flows here alone.
        prototypes: ``(C, d)``, unit rows.
        cluster: own cluster ``(B,)``.
        temperatures: concentrations phi ``(C,)``, positive.

    Returns:
        A scalar >= 0.
    """
    return F.cross_entropy(q @ prototypes.detach().t() / temperatures, cluster)


def unmatched_contrast(positive: Tensor, scores: Tensor, own: Tensor, temperature: float) -> Tensor:
    """A positive against the prototypes of the clusters that are not one's own (ProtoOT ``builder.py``).

    ``mean_i -log( exp(p_i/T) / (exp(p_i/T) + sum_{c != own_i} exp(s_ic/T)) )``.

    Args:
        positive: cosine ``(B,)`` of each query and its positive, whatever that is.
        scores: cosines ``(B, C)`` of the queries and all prototypes.
        own: own cluster ``(B,)``, which is no negative.
        temperature: T > 0.

    Returns:
        A scalar >= 0.
    """
    return F.cross_entropy(scores.scatter(1, own[:, None], positive[:, None]) / temperature, own)
