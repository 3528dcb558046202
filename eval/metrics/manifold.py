"""Which pictures lie on the manifold of others: balls around features, out to their nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 3
CHUNK = 1000


def coverage(points: Tensor, centres: Tensor) -> float:
    """Share of points that lie in a ball around any centre (Kynkäänniemi et al., arXiv 1904.06991).

    Of samples around real pictures it is precision, of real pictures around samples it is recall.

    Args:
        points (`Tensor`): (n, d).
        centres (`Tensor`): (m, d), more than 3: each ball reaches to the third nearest other centre.
    """
    points, centres = points.double(), centres.double()
    # The nearest of all is the centre itself.
    radii = torch.cat([torch.cdist(part, centres).kthvalue(NEIGHBOURS + 1).values for part in centres.split(CHUNK)])
    inside = [(torch.cdist(part, centres) <= radii).any(1) for part in points.split(CHUNK)]
    return float(torch.cat(inside).double().mean())
