"""setkey's tokens: a script in, statement by statement.

The rules are those of FreeBSD's flex scanner: the longest match wins, a word is a keyword wherever it stands, names of
algorithms are known only directly after `-E` and `-A`, and all that stands between `-P` and `;` is one token. Bytes are
taken as Latin-1 characters, so that what is printed back is what was read.

Reading never goes beyond what is there: a statement whose `;` has come is given out before more is asked for.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

COMPLETE, MORE, END, ILLEGAL = range(4)
"""What `scan` found: a statement up to its `;`, the end of what is there so far, of the input, an illegal character."""

CHUNK = 1 << 16

_KEYWORDS = {
    "add": "ADD",
    "delete": "DELETE",
    "deleteall": "DELETEALL",
    "get": "GET",
    "flush": "FLUSH",
    "dump": "DUMP",
    "spdadd": "SPDADD",
    "spddelete": "SPDDELETE",
    "spddump": "SPDDUMP",
    "spdflush": "SPDFLUSH",
    "tagged": "TAGGED",
    "esp": "ESP",
    "esp-old": "ESP",
    "ah": "AH",
    "ah-old": "AH",
    "ipcomp": "IPCOMP",
    "tcp": "TCP",
    "any": "ANY",
    "transport": "MODE",
    "tunnel": "MODE",
    "random-pad": "PADDING",
    "seq-pad": "PADDING",
    "zero-pad": "PADDING",
    "nocyclic-seq": "PADDING",
    "oui": "COMPRESSION",
    "deflate": "COMPRESSION",
    "lzs": "COMPRESSION",
}

_ENCRYPTION = dict.fromkeys(
    ["null", "aes-cbc", "rijndael-cbc", "aes-ctr", "aes-gcm-16", "chacha20-poly1305"], "ENCRYPTION"
) | {"simple": "ENCRYPTION_WITHOUT_KEY"}

_AUTHENTICATION = dict.fromkeys(
    [
        "hmac-sha1",
        "hmac-sha2-256",
        "hmac-sha2-384",
        "hmac-sha2-512",
        "aes-xcbc-mac",
        "tcp-md5",
        "chacha20-poly1305",
    ],
    "AUTHENTICATION",
) | {"null": "AUTHENTICATION_WITHOUT_KEY"}

_OPTIONS = {
    "-P": "OPTION_P",
    "-A": "OPTION_A",
    "-E": "OPTION_E",
    "-C": "OPTION_C",
    "-R": "OPTION_RAW",
    "-m": "OPTION_M",
    "-u": "OPTION_U",
    "-f": "OPTION_F",
    "-r": "OPTION_R",
    "-lh": "OPTION_LH",
    "-ls": "OPTION_LS",
    "-natt": "OPTION_NATT",
    "-natt_mtu": "OPTION_NATT_MTU",
    "-esn": "OPTION_ESN",
    "-hwif": "OPTION_HWIF",
}

_WORDS_AFTER = {"OPTION_E": _KEYWORDS | _ENCRYPTION, "OPTION_A": _KEYWORDS | _AUTHENTICATION}

# A statement in which every blank-separated word is one token, as long as its options are known.
_PLAIN = re.compile(r"[A-Za-z0-9:%. \t\n-]*+")
_PLAIN_WORDS = _KEYWORDS | {option: kind for option, kind in _OPTIONS.items() if kind != "OPTION_P"}
_PLAIN_WORDS_AFTER = {"OPTION_E": _PLAIN_WORDS | _ENCRYPTION, "OPTION_A": _PLAIN_WORDS | _AUTHENTICATION}
_PLAIN_TOKEN = re.compile(r"[^ \t\n;]++|;")
_HEXADECIMAL = re.compile(r"0[xX][0-9A-Fa-f]++")

_TOKENS = (
    r"(?P<COMMA>[0-9]*+,[0-9,]*+)"
    r"|(?P<DECIMAL>[0-9]++(?![A-Za-z:%.-]))"
    r"|(?P<HEX>0[xX][0-9A-Fa-f]++(?![G-Zg-z:%.-]))"
    r"|(?P<WORD>[A-Za-z0-9:][A-Za-z0-9:%.-]*+)"
    r"|(?P<OPTION>-(?:natt_mtu|natt|[n46]++|lh|ls|esn|hwif|[PACREmufr]))"
    r"|(?P<SEMICOLON>;)"
    r'|(?P<QUOTED>"[^"]*+")'
    r"|(?P<SLASH>/)|(?P<LSQB>\[)|(?P<RSQB>\])"
    r"|(?P<ILLEGAL>(?s:.))"
)
_POLICY_TOKENS = r"(?P<POLICY_TEXT>[A-Za-z0-9:._/ \t\n-][A-Za-z0-9:.%_/ \t\n-]*+)|(?P<COMMENT>#[^\n]*+)"
_ORDINARY = re.compile(rf"(?:[ \t\n]++|#[^\n]*+)*+(?:{_TOKENS})?")
_POLICY = re.compile(rf"(?:{_POLICY_TOKENS}|{_TOKENS})?")

# What must come before it is worth looking again at a token that was cut off by the end of what is there.
_BREAKS = {'"': re.compile('"'), "#": re.compile("\n")}
_BREAK = re.compile(r"[^A-Za-z0-9:%.,-]")
_POLICY_BREAK = re.compile(r"[^A-Za-z0-9:.%_/ \t\n-]")
_LONGEST_OPTION = 9
_OPTION_SO_FAR = re.compile(r"-[a-z_0-9]*\Z")

_WHOLE = frozenset(["SEMICOLON", "QUOTED", "SLASH", "LSQB", "RSQB"])  # nothing that follows can change these


class Lexer:
    """`read(n)` gives at most n bytes that are there (it waits until there is one), b"" at the end.

    After `scan`, `kinds` and `texts` hold the tokens of the statement so far; error messages show some of them
    differently, see `shown`.
    """

    __slots__ = (
        "_base",
        "_buffer",
        "_end_of_input",
        "_ends",
        "_first_line",
        "_lines",
        "_policy",
        "_position",
        "_read",
        "_words",
        "illegal",
        "kinds",
        "line",
        "texts",
    )

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._buffer = ""
        self._position = 0
        self._end_of_input = False
        self._policy = False
        self._words = _KEYWORDS  # what words mean now: after -E and -A, algorithms too
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.illegal = ""
        """The character no rule accepts, as it is shown."""
        self.line = 1
        """Of the last character looked at (lines inside quotes do not count)."""
        self._ends: list[int] = []  # of the tokens in the buffer
        self._base = 0  # where the tokens of `_ends` begin in the buffer
        self._first_line = 1  # at `_base`
        self._lines: list[int] = []  # of the tokens before those of `_ends`

    def begin(self) -> None:
        """Forgets the tokens of the last statement."""
        self.kinds.clear()
        self.texts.clear()
        self._lines.clear()
        self._ends.clear()
        self._words = _KEYWORDS
        self._base = self._position
        self._first_line = self.line

    def scan(self) -> int:
        """Takes tokens up to the next `;` as far as they are there. COMPLETE, MORE, END or ILLEGAL."""
        return COMPLETE if not self.kinds and self._scan_plain() else self._scan()

    def _scan_plain(self) -> bool:
        """Takes a whole statement if it is of the simplest form, which is most of any long script; else nothing."""
        buffer = self._buffer
        position = self._position
        end = buffer.find(";", position)
        if end < 0 or _PLAIN.match(buffer, position).end() != end:  # type: ignore[union-attr]
            return False
        texts = buffer[position:end].split()
        kinds = []
        words = _PLAIN_WORDS
        for text in texts:
            kind = words.get(text)
            if kind is None:
                if text[0] in "-%.":
                    return False
                if text.isdigit():
                    kind = "DECIMAL"
                else:
                    kind = "HEX" if text[0] == "0" and _HEXADECIMAL.fullmatch(text) else "STRING"
            elif kind in _PLAIN_WORDS_AFTER:
                words = _PLAIN_WORDS_AFTER[kind]
            kinds.append(kind)
        kinds.append("SEMICOLON")
        texts.append(";")
        self.kinds = kinds
        self.texts = texts
        self._position = end + 1
        self.line += buffer.count("\n", position, end)
        return True

    def _scan(self) -> int:
        kinds = self.kinds
        texts = self.texts
        ends = self._ends
        buffer = self._buffer
        near_end = len(buffer) - _LONGEST_OPTION
        words = self._words
        position = self._position
        result = MORE
        quoted_lines = 0
        for match in (_POLICY if self._policy else _ORDINARY).finditer(buffer, position):
            kind = match.lastgroup
            end = match.end()
            if kind is None:  # the end, after blanks and comments
                comment = buffer.find("#", max(position, buffer.rfind("\n") + 1))
                position = end if comment < 0 or self._end_of_input else comment
                break
            text = match[kind]
            if (end >= near_end or kind == "ILLEGAL") and not self._end_of_input and self._cut_off(kind, text, end):
                break
            position = end
            if kind == "WORD":
                kind = words.get(text, "STRING")
            elif kind == "OPTION":
                kind = _OPTIONS.get(text, "ADDRESS_FLAGS")
                words = _WORDS_AFTER.get(kind, _KEYWORDS)
            elif kind == "COMMA":
                kind = "STRING"
            elif kind == "QUOTED":
                quoted_lines += text.count("\n")
            elif kind == "COMMENT":
                text = ""  # kept, as it separates what stands before it from what follows
            elif kind == "ILLEGAL":
                prefix = self._kept_text(len(kinds))
                self.illegal = _as_c_string(prefix + text)
                result = ILLEGAL
                break
            kinds.append(kind)
            texts.append(text)
            ends.append(end)
            if kind == "SEMICOLON":
                self._policy = False
                result = COMPLETE
                break
            if kind == "OPTION_P":
                self._policy = True
                result = -1
                break
        self.line += buffer.count("\n", self._position, position) - quoted_lines
        self._position = position
        self._words = words
        if result == -1:
            return self._scan()
        return END if result == MORE and self._end_of_input else result

    def refill(self) -> None:
        """Reads more; to be called after MORE."""
        self._lines += self._lines_in_buffer(len(self.kinds))
        self._ends.clear()
        self._base = 0
        self._first_line = self.line
        rest = self._buffer[self._position :]
        parts = [rest]
        first = rest.lstrip(" \t\n")[:1] if not self._policy else rest[:1]
        stop = _BREAKS.get(first) or (_POLICY_BREAK if self._policy else _BREAK)
        while True:
            data = self._read(CHUNK).decode("latin-1")
            parts.append(data)
            if not data:
                self._end_of_input = True
                break
            if not first or stop.search(data):
                break
        self._buffer = "".join(parts)
        self._position = 0

    def line_of(self, index: int) -> int:
        """The line on which the token ends; for one that never came, the line read last."""
        before = len(self._lines)
        if index < before:
            return self._lines[index]
        if index >= len(self.kinds):
            return self.line
        if not self._ends:  # a plain statement
            self._ends = [match.end() for match in _PLAIN_TOKEN.finditer(self._buffer, self._base, self._position)]
        return self._lines_in_buffer(index + 1)[-1]

    def _lines_in_buffer(self, end: int) -> list[int]:
        """The lines of the tokens that are in the buffer, up to the token `end`."""
        before = len(self._lines)
        line, position = self._first_line, self._base
        lines = []
        for kind, text, token_end in zip(
            self.kinds[before:end], self.texts[before:end], self._ends[: end - before], strict=True
        ):
            line += self._buffer.count("\n", position, token_end)
            if kind == "QUOTED":
                line -= text.count("\n")
            position = token_end
            lines.append(line)
        return lines

    def shown(self, index: int) -> str:
        """The token as an error message shows it; nothing for one that never came."""
        if index >= len(self.kinds):
            return ""
        text = self._kept_text(index) + self.texts[index]
        if self.kinds[index] == "QUOTED":
            text = text[1:].partition('"')[0]  # setkey drops the first character and cuts at the next quote
        return _as_c_string(text)

    def _cut_off(self, kind: str, text: str, end: int) -> bool:
        """Whether what comes after the buffer could change this token."""
        if kind in _WHOLE:
            return False
        if text[0] == "-" and kind != "POLICY_TEXT":
            return _OPTION_SO_FAR.match(self._buffer, end - len(text)) is not None
        if kind == "ILLEGAL":
            return text == '"'
        return end == len(self._buffer)

    def _kept_text(self, index: int) -> str:
        """The policy text directly before the token, which flex keeps in front of it."""
        return self.texts[index - 1] if index > 0 and self.kinds[index - 1] == "POLICY_TEXT" else ""


def _as_c_string(text: str) -> str:
    end = text.find("\0")
    return text if end < 0 else text[:end]
