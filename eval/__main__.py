"""`python -m toca.eval run default`, for launchers: `accelerate launch -m toca.eval run default`."""

from toca.pipelines.cli import eval_main

if __name__ == "__main__":
    eval_main()
