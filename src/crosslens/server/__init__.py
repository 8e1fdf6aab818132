"""The server: HTTP, OpenAPI, API keys, jobs and the page, over one or several indexes."""
