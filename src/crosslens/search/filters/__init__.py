"""Conditions on items, and their text form."""
