"""How many threads the numeric libraries of a server process take."""

from __future__ import annotations

import os
import sys


def one_thread_each() -> None:
    """Let every numeric library of this process use one thread a call.

    Requests run beside one another already. Two threads for one query's small products gain little and wait for
    cores that other requests use.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    # PyTorch, which an encoder may need later, looks here when it is imported.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
