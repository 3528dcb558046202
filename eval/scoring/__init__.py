"""The stage that scores pictures: judges by a configuration, their figures from a cache, columns for the report."""
