"""What a run measures: the settings of a configuration, and what pictures are scored by."""

from toca.eval.config.scores import ScoreSettings
from toca.eval.config.settings import PRESETS, MethodEntry, Settings, find_config, presets, read_run

__all__ = ["PRESETS", "MethodEntry", "ScoreSettings", "Settings", "find_config", "presets", "read_run"]
