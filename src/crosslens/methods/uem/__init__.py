"""UEM: unsupervised retrieval between domains that need not share their classes."""
