"""How many threads the numeric libraries of a server process take."""

from __future__ import annotations


def one_thread_each() -> None:
    """Let every numeric library of this process use one thread a call.

    Requests run beside one another already. Two threads for one query's small products gain little and wait for
    cores that other requests use.
    """
    import torch
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    torch.set_num_threads(1)
