"""Links of the README and the docs lead somewhere; ``test_docs_run.py`` runs what is on the pages."""

import re
from pathlib import Path

import pytest

from testing.doc_pages import PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
