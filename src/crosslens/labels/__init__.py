"""Pseudo-labels: from class names and a vision-language model to a label and a confidence for every image."""
