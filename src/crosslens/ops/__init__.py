"""Pure functions on tensors: clustering, counts of clusters."""
