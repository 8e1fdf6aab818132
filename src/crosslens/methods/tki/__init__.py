"""TKI, a reconstruction: retrieval across domains learned from texts alone."""
