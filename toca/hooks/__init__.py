"""How a decision reaches a module: attention, feed-forwards, the norms before them, parallel and whole blocks."""
