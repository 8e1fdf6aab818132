"""``fit auto``: which method suits what there is.

``facts.py`` says what is looked at, ``observation.py`` looks, ``choice.py`` decides from the facts alone, and
``train_chosen.py`` trains what was chosen and keeps ``centred`` where that does not seem better.
"""
