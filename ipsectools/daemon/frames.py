"""Frames of the control socket: a 4-byte big-endian length, then that many bytes of JSON (UTF-8).

Uses the two C functions inside the json package directly: the package itself imports `re` and more, which costs a
command a quarter of its start-up time.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

from ipsectools.errno import EIO, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Context:
    """What json.JSONDecoder tells the C scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(word: str) -> float:
        raise ValueError(word)


_scan = make_scanner(_Context())  # type: ignore[arg-type]  # the stub names the wrong type


def _not_plain(value: object) -> object:
    raise TypeError(f"not a plain value: {type(value).__name__}")


HEADER_LENGTH = 4


def pack(value: Any) -> bytes:
    """A whole frame. Raises TypeError or ValueError for a value that JSON does not have."""
    encode = make_encoder({}, _not_plain, encode_basestring_ascii, None, ":", ",", False, False, False)
    body = "".join(encode(value, 0)).encode()
    return len(body).to_bytes(HEADER_LENGTH, "big") + body


def unpack(body: bytes) -> Any:
    """The value in a frame's body. Raises ValueError for anything else than one JSON value, however hostile."""
    try:
        text = body.decode().strip(" \t\r\n")
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except SystemError:  # the C scanner found a syntax error, and json.JSONDecodeError is not imported
        raise ValueError("not JSON") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value


def answer_value(answer: Any) -> Any:
    """What a control answer carries: its value, or raises the KernelError it holds."""
    if isinstance(answer, dict):
        if "value" in answer:
            return answer["value"]
        number = answer.get("errno")
        if isinstance(number, int):
            raise KernelError(number, str(answer.get("detail", "")))
    raise KernelError(EIO, "an answer from ipsecd that makes no sense")
