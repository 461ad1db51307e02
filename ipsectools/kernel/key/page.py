"""The traffic page: what each SA has sent and seen, in a file that the data path writes as memory.

Each SA has a slot in the file `traffic` of the state directory: its counters (`esp.traffic.COUNTERS`), who it is, and
the bitmap of its replay window. The file is mapped shared, and the data path writes a number there before the packet
that has it leaves or is delivered. What was written is the kernel's, so it survives every end of the process; it does
not survive the end of the machine, for nothing waits for a disk. So a page is good for the boot and the file (device
and inode) that it was made in: of any other, as of one that is damaged, nothing is believed.

The file grows by chunks, each of them mapped for itself, which takes a descriptor; so they double. They never move or
shrink; a block of the file takes room when it is first used, and is asked for then, because a write to mapped memory
that finds the disk full ends the process.

Layout, all in the machine's byte order: a header (`_HEADER`) with room behind it, then chunks. The header tells how
long the file is at least; it is written last. A chunk begins with `_CHUNK`; it holds pieces of one size, slots or
bitmaps. A slot is `_SLOT`: counters, stamp (0: it is free), id, SPI and check word, place of the bitmap (offset in
the file, 0: in the slot itself; its lowest 6 bits are the binary logarithm of its length, 0: none), and a small bitmap.
`datapath/fast/traffic.h` has the same.
"""

from __future__ import annotations

import ctypes
import os
from itertools import count
from mmap import MAP_SHARED, mmap
from struct import Struct
from zlib import crc32

from ipsectools.kernel.errors import StateError, check_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.esp.traffic import Place

FILE = "traffic"
LARGEST_RING = 1 << 16
"""Bytes of a bitmap that is kept. Of a larger window (of half a million packets) only the edge is."""

_MAGIC = b"IPsecTRF"
_VERSION = 2
_HEADER = Struct("=8sIQQ16s16sQI")  # magic, version, device, inode, id of the page, boot id, length, check word
_CHUNK = Struct("=4sIQQI")  # magic, size of its pieces, offset, length, check word
_CHUNK_MAGIC = b"PAGE"
_SLOT = Struct("=8QQQIIQ32s")
_IDENTITY = Struct("=QQIQ")
_STAMP = Struct("=Q")
_WORD = Struct("=I")
_SLOT_SIZE = _SLOT.size  # 128
_STAMP_AT, _RING_AT = 64, 96
_INLINE = 32
_SMALLEST_RING = 64
_UNIT = 1 << 16  # chunks begin and end at its multiples, as mappings must on machines with large pages
_BLOCK = 4096
_LONGEST_CHUNK = 1 << 24
_LARGEST_KEPT = 1 << 63
"""What the state file cannot hold of packets, bytes and seconds: nobody counted that."""
_IN_MEMORY = frozenset((0x01021994, 0x858458F6))
"""statfs(2) types of tmpfs and ramfs."""


class Page:
    """The file, open and mapped.

    `slots` are the slots in use when it was opened that nobody has taken yet, by the SA's stamp; empty if it is new.
    `damaged` are slots in use whose SAs cannot be told.
    """

    def __init__(self, path: str, id: bytes, fd: int) -> None:
        self.path = path
        self.id = id
        self.slots: dict[int, int] = {}
        self.damaged: list[int] = []
        self._fd = fd
        self._seed = crc32(id)
        self._size = _UNIT
        self._chunks: dict[int, _Chunk] = {}  # by each of their units
        self._last: dict[int, _Chunk] = {}  # by size of pieces: the one with room
        self._free: dict[int, list[int]] = {}

    def __del__(self) -> None:
        os.close(self._fd)

    # slots

    def take(self, id: int, stamp: int, spi: int, ring: int, counters: tuple[int, ...]) -> int:
        """A slot for an SA with a bitmap of `ring` bytes (0: none) and these counters. Raises OSError (ENOSPC)."""
        slot = self._piece(_SLOT_SIZE)
        try:
            where = self._bitmap(ring)
        except OSError:  # the next try must not need another one
            self._free.setdefault(_SLOT_SIZE, []).append(slot)
            raise
        chunk = self._chunks[slot // _UNIT]
        at = slot - chunk.offset
        check = self._check(stamp, id, spi, where)
        _SLOT.pack_into(chunk.memory, at, *counters, 0, id, spi, check, where, b"")
        _STAMP.pack_into(chunk.memory, at + _STAMP_AT, stamp)
        return slot

    def _bitmap(self, ring: int) -> int:
        if not 0 < ring <= LARGEST_RING:
            return 0
        where = ring.bit_length() - 1
        if ring > _INLINE:
            size = max(ring, _SMALLEST_RING)
            where |= self._piece(size)
            self._clear(where & ~63, size)
        return where

    def release(self, slot: int) -> None:
        """The SA is gone, and nobody writes to the slot any more."""
        chunk = self._chunks[slot // _UNIT]
        at = slot - chunk.offset
        where = _SLOT.unpack_from(chunk.memory, at)[12]
        _STAMP.pack_into(chunk.memory, at + _STAMP_AT, 0)
        self._free.setdefault(_SLOT_SIZE, []).append(slot)
        if where & ~63:
            self._free.setdefault(max(1 << (where & 63), _SMALLEST_RING), []).append(where & ~63)

    def settle(self) -> None:
        """Everything that was to be taken from `slots` has been: the rest is free."""
        for slot in self.slots.values():
            self.release(slot)
        for slot in self.damaged:  # which lie where there is room, as far as anybody knows
            chunk = self._chunks[slot // _UNIT]
            _STAMP.pack_into(chunk.memory, slot - chunk.offset + _STAMP_AT, 0)
        self.slots, self.damaged = {}, []

    def counters(self, slot: int, id: int, stamp: int, spi: int, ring: int) -> tuple[int, ...] | None:
        """The counters in a slot of `slots`; None unless they are this SA's and can be."""
        chunk = self._chunks[slot // _UNIT]
        found = _SLOT.unpack_from(chunk.memory, slot - chunk.offset)
        if found[8:11] != (stamp, id, spi):
            return None
        where = found[12]
        if (1 << (where & 63) if where else 0) != (ring if ring <= LARGEST_RING else 0):
            return None
        if max(found[5:8]) >= _LARGEST_KEPT:
            return None
        high, advancing, floor = found[2:5]
        if where and high > floor and advancing <= high:  # then its bit is set, but in a bitmap that was lost
            address, length = self._ring(slot, where)
            byte = ctypes.c_ubyte.from_address(address + (high >> 3) % length).value
            if not byte & 1 << (high & 7):
                return None
        return found[:8]

    def harm(self) -> str:
        """What others have done to the name of the file, for people; empty if nothing."""
        try:
            if os.path.samestat(os.stat(self.path, follow_symlinks=False), os.fstat(self._fd)):
                return ""
        except OSError:
            return f"{self.path} was removed"
        return f"{self.path} was replaced"

    def place(self, slot: int) -> Place:
        """Where the data path finds a slot and its bitmap: address, address and length, and what keeps them there."""
        chunk = self._chunks[slot // _UNIT]
        at = slot - chunk.offset
        where = _SLOT.unpack_from(chunk.memory, at)[12]
        return chunk.address + at, *(self._ring(slot, where) if where else (0, 0)), self

    def _ring(self, slot: int, where: int) -> tuple[int, int]:
        offset = where & ~63 or slot + _RING_AT
        chunk = self._chunks[offset // _UNIT]
        return chunk.address + offset - chunk.offset, 1 << (where & 63)

    def _check(self, stamp: int, id: int, spi: int, where: int) -> int:
        return crc32(_IDENTITY.pack(stamp, id, spi, where), self._seed)

    # room

    def _piece(self, size: int) -> int:
        """The offset of a piece of this size that nobody has. Its memory holds anything."""
        free = self._free.get(size)
        if free:
            return free.pop()
        chunk = self._last.get(size)
        if chunk is None or chunk.next + size > chunk.offset + chunk.length:
            chunk = self._last[size] = self._grow(size)
        piece = chunk.next
        end = piece + size
        if end > chunk.ready:
            start = chunk.ready // _BLOCK * _BLOCK
            reserved = -(-end // _BLOCK) * _BLOCK
            os.posix_fallocate(self._fd, start, reserved - start)
            chunk.ready = reserved
        chunk.next = end
        return piece

    def _grow(self, size: int) -> _Chunk:
        offset = self._size
        last = self._last.get(size)
        length = -(-(size + _BLOCK) // _UNIT) * _UNIT if last is None else min(2 * last.length, _LONGEST_CHUNK)
        os.posix_fallocate(self._fd, offset, _BLOCK)
        os.truncate(self._fd, offset + length)
        head = (_CHUNK_MAGIC, size, offset, length)
        os.pwrite(self._fd, _CHUNK.pack(*head, crc32(_CHUNK.pack(*head, 0), crc32(self.id))), offset)
        chunk = self._map(size, offset, length)
        self.write_header()
        return chunk

    def write_header(self) -> None:
        info = os.fstat(self._fd)
        head = _HEADER.pack(_MAGIC, _VERSION, info.st_dev, info.st_ino, self.id, boot_id(), self._size, 0)[:-4]
        os.pwrite(self._fd, head + _WORD.pack(crc32(head)), 0)

    def _map(self, size: int, offset: int, length: int) -> _Chunk:
        chunk = _Chunk(mmap(self._fd, length, MAP_SHARED, offset=offset), size, offset, length)
        self._size = offset + length
        for unit in range(offset // _UNIT, self._size // _UNIT):
            self._chunks[unit] = chunk
        return chunk

    def _clear(self, offset: int, length: int) -> None:
        chunk = self._chunks[offset // _UNIT]
        at = offset - chunk.offset
        chunk.memory[at : at + length] = bytes(length)

    # an earlier life

    def read(self, least: int) -> None:
        """Finds the slots in use. Raises ValueError if the file is not what was written, at `least` so long."""
        size = os.fstat(self._fd).st_size
        chunks: list[_Chunk] = []
        while self._size < max(size, least):
            offset = self._size
            head = os.pread(self._fd, _CHUNK.size, offset)
            if offset >= least and not any(head):
                break  # the process ended while the file grew
            if len(head) < _CHUNK.size:
                raise ValueError("cut off")
            magic, piece, start, length, check = _CHUNK.unpack(head)
            if (
                magic != _CHUNK_MAGIC
                or start != offset
                or check != crc32(_CHUNK.pack(magic, piece, start, length, 0), crc32(self.id))
            ):
                raise ValueError("damaged")
            if offset + length > size:
                raise ValueError("cut off")
            chunks.append(self._map(piece, offset, length))
        os.truncate(self._fd, self._size)
        used: dict[int, set[int]] = {chunk.offset: set() for chunk in chunks}
        for chunk in chunks:
            self._last[chunk.size] = chunk
            if chunk.size == _SLOT_SIZE:
                self._read_slots(chunk, used)
        for chunk in chunks:
            self._find_room(chunk, used[chunk.offset])

    def _read_slots(self, chunk: _Chunk, used: dict[int, set[int]]) -> None:
        # Read, not looked at in memory: a block of mapped memory that is looked at takes room.
        data = os.pread(self._fd, chunk.length, chunk.offset)
        for slot, found in zip(count(chunk.offset, _SLOT_SIZE), _SLOT.iter_unpack(data), strict=False):
            stamp, id, spi, check, where, _ = found[8:]
            if not stamp or slot < chunk.first:
                continue
            bitmap = where & ~63
            if check != self._check(stamp, id, spi, where) or (bitmap and bitmap // _UNIT not in self._chunks):
                self.damaged.append(slot)
                continue
            self.slots[stamp] = slot
            used[chunk.offset].add(slot)
            if bitmap:
                used[self._chunks[bitmap // _UNIT].offset].add(bitmap)

    def _find_room(self, chunk: _Chunk, pieces: set[int]) -> None:
        """What is free between the pieces in use, and behind them."""
        first = chunk.first
        if self._last[chunk.size] is chunk:
            chunk.next = max(pieces, default=first - chunk.size) + chunk.size
        else:  # it was filled once
            chunk.next = chunk.offset + chunk.length - (chunk.length + chunk.offset - first) % chunk.size
        if len(pieces) != (chunk.next - first) // chunk.size:
            free = self._free.setdefault(chunk.size, [])
            free += [piece for piece in range(first, chunk.next, chunk.size) if piece not in pieces]


class _Chunk:
    __slots__ = ("address", "first", "length", "memory", "next", "offset", "ready", "size")

    def __init__(self, memory: mmap, size: int, offset: int, length: int) -> None:
        self.memory = memory
        self.size = size
        self.offset = offset
        self.length = length
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.first = self.next = offset + min(size, _BLOCK)  # a bitmap lies within one block, or begins with one
        self.ready = offset + _BLOCK


def is_in_memory(directory: str) -> bool:
    """Whether what is in this directory ends with the machine, so that nothing there has to be safe from that."""
    room = ctypes.create_string_buffer(256)  # struct statfs, which begins with the type, a long
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.statfs(os.fsencode(directory), room) == 0 and ctypes.c_long.from_buffer(room).value in _IN_MEMORY


def boot_id() -> bytes:
    """Names this boot of the machine: 16 bytes."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return bytes.fromhex(file.read().strip().replace("-", ""))


def open_page(path: str, id: bytes) -> Page:
    """The page of that id, as this boot's processes left it. Raises ValueError, the text saying why there is none."""
    try:
        check_file(path)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        page = Page(path, id, fd)
        page.read(_read_header(fd, id))
    except OSError as error:
        raise ValueError(error.strerror) from None
    except StateError as error:
        raise ValueError(str(error).removeprefix(f"{path}: ")) from None
    return page


def _read_header(fd: int, id: bytes) -> int:
    """How long the file is at least. Raises ValueError if it is not the page of that id, or of another boot."""
    info, head = os.fstat(fd), os.pread(fd, _HEADER.size, 0)
    if len(head) < _HEADER.size or head[-4:] != _WORD.pack(crc32(head[:-4])):
        raise ValueError("damaged")
    magic, version, device, inode, found_id, boot, length, _ = _HEADER.unpack(head)
    if (magic, version) != (_MAGIC, _VERSION):
        raise ValueError("of another kind")
    if boot != boot_id():
        raise ValueError("of another boot")
    if (device, inode) != (info.st_dev, info.st_ino):
        raise ValueError("a copy")
    if found_id != id:
        raise ValueError("of another state file")
    return int(length)


def make_page(path: str, id: bytes) -> Page:
    """A new page in place of whatever is there. Raises OSError where there can be none."""
    if os.path.lexists(path):
        os.unlink(path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    page = Page(path, id, fd)
    os.posix_fallocate(fd, 0, _BLOCK)
    os.truncate(fd, _UNIT)
    mmap(fd, _BLOCK, MAP_SHARED).close()  # not every file system can
    page.write_header()
    return page
