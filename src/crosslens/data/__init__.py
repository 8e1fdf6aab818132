"""The table of images and what reads it: folders, manifests, lists; names of domains and classes; splits."""
