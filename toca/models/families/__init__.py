"""The supported transformers, one file a family."""
