"""How a decision reaches a module: attention processors, feed-forwards, parallel blocks; install and remove."""
