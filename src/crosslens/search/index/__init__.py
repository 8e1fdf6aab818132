"""The index: a folder of encoded images that grows, shrinks, moves and is restored."""
