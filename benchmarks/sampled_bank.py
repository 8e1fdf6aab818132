"""What a memory bank of a sample costs in quality: the same fit with the whole bank and with a part of it.

    python benchmarks/sampled_bank.py ROOT --features F --domains photo,sketch --bank-rows 700 --json out.json

Rows: ``whole``; ``sampled``, a bank of ``--bank-rows``; ``small windows``, the same with batches from windows of
four blocks of 64 images, so that a batch comes from four places of the listing, which has classes behind one
another. Labels score the results alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import crosslens
from crosslens.training import order

WINDOWS = {"whole": (256, 64), "sampled": (256, 64), "small windows": (64, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder root/<domain>/<class>/*")
    parser.add_argument("--features", type=Path, help="a feature folder with at least 3 views")
    parser.add_argument("--domains", required=True)
    parser.add_argument("--bank-rows", type=int, required=True)
    parser.add_argument("--method", default="ucdir")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    found = []
    for seed in map(int, args.seeds.split(",")):
        for row, (order.BLOCK, order.WINDOW) in WINDOWS.items():
            settings = {"members": args.members} | ({} if row == "whole" else {"bank_rows": args.bank_rows})
            with tempfile.TemporaryDirectory() as folder:
                run = crosslens.fit(
                    args.method,
                    args.root,
                    domains=tuple(args.domains.split(",")),
                    out=Path(folder) / "run",
                    features=args.features,
                    set=settings,
                    seed=seed,
                )
                score = crosslens.evaluate(run.folder, features=args.features).metrics["map@all"]
            found.append({"row": row, "seed": seed, "map@all": round(score, 4)})
            print(found[-1], flush=True)
            args.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
