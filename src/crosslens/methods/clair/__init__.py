"""CLAIR, a reconstruction: class names and the noisy labels of a vision-language model."""
