"""Re-ranking on neighbour graphs, and the graphs' upkeep."""
