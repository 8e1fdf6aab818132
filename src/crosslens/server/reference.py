"""The reference of the API as one HTML page, made from its OpenAPI description; nothing comes from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from threading import Lock
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from crosslens.server.problems import EXPLAINED

_CODE = re.compile(r"`([^`]+)`")
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.9em/1.4 ui-monospace, monospace; }
pre { overflow: auto; padding: 0.75rem; border: 1px solid #8884; border-radius: 6px; }
section { margin: 2rem 0; border-top: 1px solid #8884; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0; }
tr { border-bottom: 1px solid #8883; }
form { display: grid; gap: 0.5rem; margin: 0.5rem 0; }
label { display: grid; gap: 0.25rem; }
input, textarea, button { font: inherit; padding: 0.25rem 0.5rem; }
button { justify-self: start; }
output img { max-width: 100%; }
"""
SCRIPT = """
"use strict";
const key = document.getElementById("key");
for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const output = form.parentElement.querySelector("output");
    output.textContent = "...";
    let path = form.dataset.path.slice(1);
    const query = new URLSearchParams();
    const options = { method: form.dataset.method, headers: {} };
    const multipart = form.querySelector("[data-in=form]") ? new FormData() : null;
    for (const field of form.elements) {
      const place = field.dataset.in;
      if (place === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
      else if (field.type === "file") for (const file of field.files) multipart.append(field.name, file);
      else if (!field.value) continue;
      else if (place === "query") query.set(field.name, field.value);
      else if (place === "header") options.headers[field.name] = field.value;
      else if (place === "form") multipart.append(field.name, field.value);
      else if (place === "body") {
        options.body = field.value;
        options.headers["Content-Type"] = "application/json";
      }
    }
    if (multipart) options.body = multipart;
    if (key.value) options.headers.Authorization = `Bearer ${key.value}`;
    try {
      const answer = await fetch(query.size ? `${path}?${query}` : path, options);
      const shown = document.createElement("pre");
      if ((answer.headers.get("Content-Type") || "").startsWith("image/")) {
        const picture = document.createElement("img");
        picture.src = URL.createObjectURL(await answer.blob());
        shown.append(`${answer.status}\\n`, picture);
      } else {
        const text = await answer.text();
        let pretty = text;
        try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON */ }
        shown.textContent = `${answer.status} ${answer.statusText}\\n${pretty}`;
      }
      output.replaceChildren(shown);
    } catch (error) {
      output.textContent = `no answer: ${error.message}`;
    }
  });
}
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ api.info.title }} API</title><link rel="stylesheet" href="docs.css">
<script src="docs.js" defer></script>
</head>
<body><main>
<h1>{{ api.info.title }} API</h1>
<p>{{ api.info.description | prose }}</p>
<p>Version {{ api.info.version }}. For programs: <a href="openapi.json">openapi.json</a>.</p>
<p><label>Key, where this server wants one, for what is tried here; it is kept nowhere:
<input id="key" type="password" autocomplete="off"></label></p>
{% for path, operations in api.paths.items() %}{% for method, operation in operations.items() %}
<section id="{{ operation.operationId }}">
<h2><code>{{ method | upper }} {{ path }}</code></h2>
<p><strong>{{ operation.summary }}{{ "" if operation.summary.endswith("?") else "." }}</strong>
{{ operation.description | prose }}</p>
{% if operation.parameters %}<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>
{% for one in operation.parameters %}
<tr><td><code>{{ one.name }}</code></td><td>{{ one.in }}</td><td>{{ one.description | prose }}</td></tr>
{% endfor %}</table>{% endif %}
{% for kind, body in (operation.requestBody.content if operation.requestBody else {}).items() %}
<details><summary>Body: <code>{{ kind }}</code></summary><pre>{{ body | pretty }}</pre></details>
{% endfor %}
<details class="try"><summary>Try it</summary>
<form data-method="{{ method | upper }}" data-path="{{ path }}">
{% for one in operation.parameters or [] %}
<label>{{ one.name }} <input name="{{ one.name }}" data-in="{{ one.in }}"
{%- if one.in == "path" %} required{% endif %}></label>
{% endfor %}
{% set content = operation.requestBody.content if operation.requestBody else {} %}
{% set form = content.get("multipart/form-data") %}
{% set plain = content.get("application/json") %}
{% for name, field in (form.schema.properties if form else {}).items() %}
{% if field.type == "array" %}
<label>{{ name }} <input type="file" name="{{ name }}" data-in="form" multiple></label>
{% else %}<label>{{ name }} <textarea name="{{ name }}" data-in="form" rows="3">
{{- form.example[name] if form.example and name in form.example else "" }}</textarea></label>{% endif %}
{% endfor %}
{% if plain and not form %}<label>body <textarea data-in="body" rows="4"></textarea></label>{% endif %}
<button>Send</button>
</form>
<output></output>
</details>
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
    environment.filters["prose"] = _prose
    return environment.from_string(_PAGE).render(api=api, explained=EXPLAINED)


def _prose(text: str | None) -> Markup:
    """A description as HTML: what stands between backticks is code, an empty line begins a paragraph."""
    marked = _CODE.sub(r"<code>\1</code>", str(escape(text or "")))
    return Markup(marked.replace("\n\n", "</p><p>"))
