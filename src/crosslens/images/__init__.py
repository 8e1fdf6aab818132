"""Decoding, preprocessing and augmenting images, with Pillow alone."""
