"""What is Lance's own: the condition that a filter becomes."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from crosslens.search.filters.conditions import FIELDS
from crosslens.search.stores.lance_table import compile_filter
from testing.filter_trees import matches, row, tree


@given(tree, st.lists(row, max_size=6))
def test_sql_means_the_same_to_a_database(found, rows):
    database = sqlite3.connect(":memory:")
    database.create_function("starts_with", 2, lambda value, start: value is not None and value.startswith(start))
    database.execute("create table items (number, id, path, root, domain, label, size, modified)")
    for position, item in enumerate(rows):
        database.execute(
            "insert into items values (?,?,?,?,?,?,?,?)", (position, *(item[name] for name in FIELDS))
        )
    condition = compile_filter(found)
    numbers = [n for (n,) in database.execute(f"select number from items where {condition} order by number")]
    assert numbers == [position for position, item in enumerate(rows) if matches(found, item)], condition
