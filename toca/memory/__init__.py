"""What is remembered between the steps of a generation."""
