"""Who scores pictures, and what makes them from a configuration."""

from toca.eval.scoring.judges.judge import Figure, Judge
from toca.eval.scoring.judges.making import Judges
from toca.eval.scoring.judges.pictures import PictureJudge, TemporalJudge
from toca.eval.scoring.judges.prompts import ClipJudge, RewardJudge
from toca.eval.scoring.judges.videos import VideoJudge

__all__ = ["ClipJudge", "Figure", "Judge", "Judges", "PictureJudge", "RewardJudge", "TemporalJudge", "VideoJudge"]
