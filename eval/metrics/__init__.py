"""Quality and fidelity metrics: features and what distances between them say, scores of each sample, and video."""
