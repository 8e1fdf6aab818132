"""From a question to an answer: parts, their mix, the search, matches, folding and order."""
