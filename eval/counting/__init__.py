"""What modules do while a pipeline runs, counted as it is done: their calls and their floating point operations."""
