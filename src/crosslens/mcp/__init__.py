"""An index as tools of the Model Context Protocol, for assistants that are language models."""
