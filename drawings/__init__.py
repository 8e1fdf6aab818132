"""How ``lite`` learned to read drawings: icons with names, the frozen photo network, and a perceptron.

``make drawings`` fetches, draws, learns, and writes what ``crosslens.backbones.drawings`` ships.
"""
