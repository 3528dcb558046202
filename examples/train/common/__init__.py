"""Training of the embedded text-to-image pipeline: captioned emoji, 64 x 64 pixels, 64 tokens."""
