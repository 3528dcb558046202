"""Evaluation: what the speed is (`toca eval bench`), and what it costs (`toca eval run`).

Rooms and files from the ground up: metrics · counting · architectures · store · refusal · peers · labels · variants ·
config · samples · timing · findings · scoring · progress · report · comparison · benchmarks. What asks for all of them
stands above.
"""

from toca.moved import redirect

redirect(
    {
        f"toca.eval.{old}": f"toca.eval.{new}"
        for old, new in {
            "per_sample": "benchmarks.per_sample",
            "random_weights": "benchmarks.random_weights",
            "scoring.settings": "config.scores",
            "flops": "counting.flops",
            "report.quality": "findings.from_metrics",
            "matching": "findings.matching",
            "report.scores": "findings.quality",
            "results": "findings.results",
            "rows": "findings.rows",
            "bootstrap": "metrics.bootstrap",
            "fidelity": "metrics.fidelity",
            "lpips": "metrics.lpips",
            "perceptual": "metrics.perceptual",
            "again": "report.again",
            "best": "report.best",
            "columns": "report.columns",
            "markdown": "report.markdown",
            "plot": "report.plot",
            "quality_columns": "report.quality_columns",
            "short_table": "report.short_table",
            "time_columns": "report.time_columns",
            "token_maps": "report.token_maps",
            "manifest": "samples.manifest",
            "noise": "samples.noise",
            "pictures": "samples.pictures",
            "prompt_lists": "samples.prompt_lists",
            "prompts": "samples.prompts",
            "running": "samples.running",
            "shards": "samples.shards",
            "subject": "samples.subject",
            "weights": "samples.weights",
            "working": "samples.working",
            "scoring.judge": "scoring.judges",
            "environment": "store.environment",
            "lines": "store.lines",
            "naming": "store.naming",
            "presence": "store.presence",
            "sealed": "store.sealed",
            "latency": "timing.latency",
            "parts": "timing.parts",
            "rivals": "timing.rivals",
            "rounds": "timing.rounds",
            "speed": "timing.speed",
        }.items()
    }
    | {
        "toca.eval.counting.calls": "toca.hooks.calls",
        "toca.eval.loop_clock": "toca.tuning.clock",
        "toca.eval.timing.loop_clock": "toca.tuning.clock",
    }
)
