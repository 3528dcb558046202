"""Files: read within bounds, written whole, and figures."""
