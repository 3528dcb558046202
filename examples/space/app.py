"""The web demo as a Space: the models that come with toca, on whatever the Space runs on."""

from toca.pipelines.demo.serving import serving

with serving() as blocks:  # at the host and port that the Space names in its environment
    blocks.block_thread()
