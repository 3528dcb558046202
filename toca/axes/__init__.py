"""The three axes of a method: when a step computes, which tokens it computes, how the others are filled."""
