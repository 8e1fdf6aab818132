"""One training loop for every method: exact resume, JSONL log, data parallel."""
