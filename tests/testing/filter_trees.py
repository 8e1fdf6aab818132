"""Filters and items drawn at random, and what a filter means by the slow formula."""

from hypothesis import strategies as st

from crosslens.search.filters.conditions import And, Eq, In, Not, Or, Prefix, Range

TEXTS = ["photo", "it's", 'say "hi"', "emoji 🐈", "ÄÖ", "", "photo/dog/1.jpg", "100%", "a_b", "-- drop"]
NUMBERS = [0, 1, -5, 2**40]
text = st.sampled_from(TEXTS)
number = st.sampled_from(NUMBERS)
text_field = st.sampled_from(["id", "domain", "label"])
number_field = st.sampled_from(["size", "modified"])


def maybe(strategy):
    return st.none() | strategy


leaf = st.one_of(
    st.builds(Eq, field=text_field, value=text),
    st.builds(Eq, field=number_field, value=number),
    st.builds(In, field=text_field, values=st.lists(text, max_size=3).map(tuple)),
    st.builds(In, field=number_field, values=st.lists(number, max_size=3).map(tuple)),
    st.builds(Range, field=text_field, min=maybe(text), max=maybe(text)),
    st.builds(Range, field=number_field, min=maybe(number), max=maybe(number)),
    st.builds(Prefix, field=text_field, value=text),
)
several = lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple)  # noqa: E731
tree = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(And, filters=several(inner)), st.builds(Or, filters=several(inner)), st.builds(Not, filter=inner)
    ),
    max_leaves=6,
)
row = st.fixed_dictionaries(
    {
        "id": text,
        "path": text,
        "root": maybe(text),
        "domain": text,
        "label": maybe(text),
        "size": maybe(number),
        "modified": maybe(number),
    }
)


def matches(found, item):
    """The slow formula."""
    match found:
        case And():
            return all(matches(part, item) for part in found.filters)
        case Or():
            return any(matches(part, item) for part in found.filters)
        case Not():
            return not matches(found.filter, item)
    value = item[found.field]
    if value is None:
        return False
    match found:
        case Eq():
            return value == found.value
        case In():
            return value in found.values
        case Prefix():
            return value.startswith(found.value)
    return (found.min is None or value >= found.min) and (found.max is None or value <= found.max)
