"""A budget in, the best plan out: search, the clock it is measured by, and what it found.

Its modules are imported one by one, for `toca.enable_cache` stands on some of them, and others stand on it.
"""
