"""A process that changes a store without end and writes down what it has finished, until it is killed."""

import json
import os

import numpy as np

from crosslens.search.filters.conditions import Eq
from testing.stores import DIM, Place, items, unit

NAMES = [f"n{number:03d}" for number in range(150)]
KINDS = ("one", "two", "three")


def draw(rng):
    """One change, as plain values."""
    kind = rng.choice(["upsert", "delete", "where", "optimize"], p=[0.7, 0.2, 0.05, 0.05])
    ids = sorted(rng.choice(NAMES, size=int(rng.integers(1, 40)), replace=False).tolist())
    return {"kind": str(kind), "ids": ids, "seed": int(rng.integers(2**31)), "label": str(rng.choice(KINDS))}


def vectors_of(change):
    return unit(len(change["ids"]), DIM, change["seed"])


def apply(store, change):
    """Make the change in a store."""
    if change["kind"] == "upsert":
        store.upsert(items(change["ids"], label=[change["label"]] * len(change["ids"])), vectors_of(change))
    elif change["kind"] == "delete":
        store.delete(change["ids"])
    elif change["kind"] == "where":
        store.delete(Eq(field="label", value=change["label"]))
    else:
        store.optimize()


def applied(model, change):
    """The same change in a dictionary of id to label and vector."""
    if change["kind"] == "upsert":
        rows = vectors_of(change)
        return model | {
            image: (change["label"], row.tobytes()) for image, row in zip(change["ids"], rows, strict=True)
        }
    if change["kind"] == "delete":
        return {image: value for image, value in model.items() if image not in change["ids"]}
    if change["kind"] == "where":
        return {image: value for image, value in model.items() if value[0] != change["label"]}
    return model


def held(store):
    """What a store holds, as such a dictionary."""
    return {
        row["id"]: (row["label"], vector.tobytes())
        for rows, vectors in store.scan(vectors=True)
        for row, vector in zip(rows.to_pylist(), vectors, strict=True)
    }


def change_until_killed(kind, folder, seed, log):
    """Write a line before and after each change."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = Place(kind, folder).open()
    rng = np.random.default_rng(seed)
    os.write(out, b"ready\n")
    while True:
        change = draw(rng)
        os.write(out, (json.dumps(change) + "\n").encode())
        apply(store, change)
        os.write(out, b"done\n")


def read_log(log):
    """The changes that were finished, and the one under way or None."""
    lines = log.read_text().splitlines()[1:]
    finished = [json.loads(line) for line, after in zip(lines[::2], lines[1::2], strict=False) if after == "done"]
    return finished, json.loads(lines[-1]) if len(lines) % 2 else None
