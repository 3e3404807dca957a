"""Reading forward through bytes, and refusing them."""

import struct


class DecodeError(ValueError):
    """The bytes are not a message of this format: truncated, corrupted or foreign."""


class Reader:
    """Reads forward through bytes, and says so when they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """Bytes that are still to be read."""
        return len(self._data) - self._position

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size > self.left:
            raise DecodeError(f"truncated: {size} bytes wanted, {self.left} left")
        self._position += size
        return self._data[self._position - size : self._position]

    def unpack(self, layout: str) -> tuple:
        """The next numbers, in a layout of ``struct``."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))
