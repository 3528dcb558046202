"""Who scores pictures, and what makes them from a configuration."""

from toca.eval.metrics.judge import Figure, Judge
from toca.eval.scoring.judges.making import Judges
from toca.eval.scoring.judges.pictures import PictureJudge, TemporalJudge
from toca.eval.scoring.judges.prompts import ClipJudge
from toca.eval.scoring.judges.videos import VideoJudge

__all__ = ["ClipJudge", "Figure", "Judge", "Judges", "PictureJudge", "TemporalJudge", "VideoJudge"]
