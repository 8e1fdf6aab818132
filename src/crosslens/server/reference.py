"""The reference of the API as one HTML page, made from its OpenAPI description; nothing comes from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Lock
from typing import Any

from jinja2 import Environment

from crosslens.server.problems import EXPLAINED

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.9em/1.4 ui-monospace, monospace; }
pre { overflow: auto; padding: 0.75rem; border: 1px solid #8884; border-radius: 6px; }
section { margin: 2rem 0; border-top: 1px solid #8884; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0; }
tr { border-bottom: 1px solid #8883; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ api.info.title }} API</title><link rel="stylesheet" href="docs.css">
</head>
<body><main>
<h1>{{ api.info.title }} API</h1>
<p>{{ api.info.description }}</p>
<p>Version {{ api.info.version }}. For programs: <a href="openapi.json">openapi.json</a>.</p>
{% for path, operations in api.paths.items() %}{% for method, operation in operations.items() %}
<section id="{{ operation.operationId }}">
<h2><code>{{ method | upper }} {{ path }}</code></h2>
<p><strong>{{ operation.summary }}.</strong> {{ operation.description }}</p>
{% if operation.parameters %}<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>
{% for one in operation.parameters %}
<tr><td><code>{{ one.name }}</code></td><td>{{ one.in }}</td><td>{{ one.description }}</td></tr>
{% endfor %}</table>{% endif %}
{% for kind, body in (operation.requestBody.content if operation.requestBody else {}).items() %}
<details><summary>Body: <code>{{ kind }}</code></summary><pre>{{ body | pretty }}</pre></details>
{% endfor %}
<table><tr><th>Answer</th><th>Meaning</th></tr>
{% for status, answer in operation.responses.items() %}
<tr><td>{{ status }}</td><td>{{ answer.description }}</td></tr>
{% endfor %}</table>
</section>
{% endfor %}{% endfor %}
<section><h2>Problems</h2>
<p>Every error is a problem document (RFC 9457): <code>type</code>, <code>title</code>, <code>status</code>,
<code>detail</code>.</p>
<table><tr><th>Status</th><th>Meaning</th></tr>
{% for status, meaning in explained.items() %}
<tr id="problem-{{ status }}"><td>{{ status }}</td><td>{{ meaning }}</td></tr>
{% endfor %}</table></section>
<section><h2>Documents</h2>
{% for name, schema in api.components.schemas.items() %}
<details id="{{ name }}"><summary><code>{{ name }}</code></summary><pre>{{ schema | pretty }}</pre></details>
{% endfor %}</section>
</main></body></html>
"""


class Reference:
    """The page of one application, made when it is first asked for and kept.

    Args:
        describe: gives the OpenAPI description.
    """

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe
        self._making = Lock()
        self._page: str | None = None

    @property
    def made(self) -> str | None:
        """The page, or None where ``make`` was not called yet."""
        return self._page

    def make(self) -> str:
        """The page; takes a moment the first time, and may be called by several threads."""
        with self._making:
            if self._page is None:
                self._page = reference_page(self._describe())
            return self._page


def reference_page(api: dict[str, Any]) -> str:
    """An OpenAPI description as HTML; everything in it is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment.from_string(_PAGE).render(api=api, explained=EXPLAINED)
