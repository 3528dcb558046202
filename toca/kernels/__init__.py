"""The few hot tensor operations, in plain torch."""
