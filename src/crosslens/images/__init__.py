"""The formats of pictures: decoding, preprocessing and augmenting."""
