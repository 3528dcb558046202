"""Writes model cards: the texts in cards/, with what training and evaluation left in the pipelines' folders.

python examples/train/card.py fashion --recognised 61
"""

import argparse
import filecmp
import json
from pathlib import Path

from toca.pipelines import borrowing, checksums

CARDS = Path(__file__).parent / "cards"


def rows(values: dict[str, object]) -> str:
    """A list of figures."""
    texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return "\n".join(f"- {name}: {text}" for name, text in texts.items())


def stages(record: dict[str, dict]) -> str:
    """What each stage of the training came to, as a table."""
    lines = ["| stage | steps | batch | loss | loss with another's condition | minutes | on |", "|" + "---|" * 7]
    for name, stage in record.items():
        batch, other = stage.get("batch", ""), stage.get("another's", "")
        loss = stage.get("right", stage["loss"])
        other = f"{other:.3f}" if other else ""
        minutes = f"{stage['seconds'] / 60:.0f}"
        lines.append(f"| {name} | {stage['steps']} | {batch} | {loss:.3f} | {other} | {minutes} | {stage['device']} |")
    return "\n".join(lines)


def store_once(folder: Path) -> None:
    """Removes the weights that another pipeline has as well, byte for byte, where toca looks for them."""
    for part, lender in borrowing.lenders(folder).items():
        for path in (folder / part).glob("*.safetensors"):
            if filecmp.cmp(path, lender / path.name, shallow=False):
                path.unlink()


def write(folder: Path) -> None:
    """README.md of one pipeline, and the checksums that its loader compares."""
    training, figures = (json.loads((folder / f"{name}.json").read_text()) for name in ("training", "figures"))
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    files = [path for path in borrowing.files_of(folder).values() if path.suffix in (".safetensors", ".json")]
    card = (CARDS / f"{folder.name}.md").read_text()
    for name, value in {
        "size": f"{sum(path.stat().st_size for path in files) / 1e6:.1f}",
        "parameters": f"{weights.stat().st_size / 2e6:.1f}",
        "training": stages(training),
        "figures": rows(figures),
    }.items():
        card = card.replace(f"{{{name}}}", value)
    (folder / "README.md").write_text(card)
    checksums.write(folder)


def note(path: Path, figures: dict[str, object]) -> None:
    """Adds to what evaluation wrote."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **figures}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in CARDS.glob("*.md")))
    parser.add_argument("--out", type=Path, default=Path("pipelines"))
    parser.add_argument("--recognised", type=int, help="how many of the sheet's 64 samples a person recognised")
    options = parser.parse_args()
    folder = options.out / options.name
    if options.recognised is not None:
        note(folder / "figures.json", {"recognised by eye on the sheet": f"{options.recognised} of 64"})
    store_once(folder)
    write(folder)


if __name__ == "__main__":
    main()
