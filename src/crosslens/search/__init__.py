"""Searching: an index of encoded images, and queries made of pictures and words."""
