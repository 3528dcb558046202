"""The stage that makes samples: the pipeline, its prompts and noise, and the pictures, by any number of processes."""
