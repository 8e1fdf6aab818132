"""Pure functions on tensors and arrays: ranking, clustering, matching, maps, calibration."""
