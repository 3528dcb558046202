"""The text in a PNG, read without decoding the picture: a file from anyone costs no more than the text in it."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from toca.files.reading import named

LONGEST_TEXT = 8 * 2**20
"""Bytes of one text, unpacked; a plan of a thousand steps takes two million."""

LARGEST_SIDE = 2**16
"""Pixels. What claims more would take more memory than any machine has, for whoever opens it."""

MOST_CHUNKS = 100_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}


def read_text(path: str | Path, keyword: str) -> str | None:
    """The text that stands under a keyword in a PNG, or `None`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no regular file, no PNG, damaged, or its text is too long.
    """
    with _opened(path) as file:
        try:
            return _find(file, keyword.encode("latin-1"))
        except (struct.error, zlib.error, UnicodeDecodeError, EOFError) as error:
            raise ValueError(f"{named(path)} could not be read as a picture: it is no PNG, or damaged.") from error
        except OSError as error:
            raise ValueError(f"{named(path)} could not be read as a picture: {error.strerror}.") from error
        except ValueError as error:
            raise ValueError(f"{named(path)} could not be read as a picture: {error}") from error


def _opened(path: str | Path) -> BinaryIO:
    """A regular file: a pipe would keep its reader waiting for ever, and a device has no end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {named(path)}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{named(path)} could not be read as a picture: {reason}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{named(path)} could not be read as a picture: it is no regular file.")
    return open(descriptor, "rb")


def _find(file: BinaryIO, keyword: bytes) -> str | None:
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        raise EOFError
    for _ in range(MOST_CHUNKS):
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IHDR":
            _check_size(_content(file, kind, length))
        elif kind == b"IEND":
            return None
        elif kind in _TEXTS and length <= LONGEST_TEXT:
            found, _, rest = _content(file, kind, length).partition(b"\0")
            if found == keyword:
                return _decoded(kind, rest)
        else:
            # Whatever else it holds, pixels among it, is passed over, and so is a text too long to be ours.
            file.seek(length + 4, os.SEEK_CUR)
    raise ValueError(f"it has more than {MOST_CHUNKS:,} parts.")


def _content(file: BinaryIO, kind: bytes, length: int) -> bytes:
    if length > LONGEST_TEXT:
        raise EOFError
    content = file.read(length)
    if struct.pack(">I", zlib.crc32(kind + content)) != file.read(4):
        raise EOFError
    return content


def _check_size(header: bytes) -> None:
    width, height = struct.unpack(">II", header[:8])
    if max(width, height) > LARGEST_SIDE:
        raise ValueError(f"it claims {width} x {height} pixels, more than the {LARGEST_SIDE} a side of any picture.")


def _decoded(kind: bytes, rest: bytes) -> str:
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return _unpacked(rest[1:]).decode("latin-1")
    packed = rest[:1] != b"\0"
    # Of an iTXt the language and the translated keyword stand before the text.
    text = rest[2:].split(b"\0", 2)[2:]
    if not text:
        raise EOFError
    return (_unpacked(text[0]) if packed else text[0]).decode("utf-8")


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(packed, LONGEST_TEXT)
    if unpacker.unconsumed_tail:
        raise ValueError(f"its text unpacks to more than {LONGEST_TEXT:,} bytes.")
    return text
