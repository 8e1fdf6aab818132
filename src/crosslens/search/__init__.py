"""Searching: an index of encoded images, and queries made of pictures and words."""

from crosslens.support.verbs import make_callable

make_callable(__name__)
