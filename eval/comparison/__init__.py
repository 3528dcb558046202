"""Two runs beside each other: by how much each variant is better in one of them, on the samples that both have."""
