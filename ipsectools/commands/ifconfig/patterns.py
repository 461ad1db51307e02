"""Shell patterns as fnmatch(3) has them; Python's own would import `re`, and knows no backslash."""

from __future__ import annotations


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text fits: `*`, `?`, `[a-z]`, `[!a-z]`, and `\\` before a character meant as such.

    Goes back to the latest `*` only, so the time is bounded by the product of the lengths.
    """
    at = position = 0
    star = -1
    resume = 0
    while position < len(text) or at < len(pattern):
        if at < len(pattern):
            if pattern[at] == "*":
                star, resume = at, position
                at += 1
                continue
            if position < len(text):
                fits, after = _fits(pattern, at, text[position])
                if fits:
                    at, position = after, position + 1
                    continue
        if star < 0 or resume >= len(text):
            return False
        resume += 1
        at, position = star + 1, resume
    return True


def _fits(pattern: str, at: int, character: str) -> tuple[bool, int]:
    """Whether one character fits the pattern's element at `at`, and where the next element begins."""
    sign = pattern[at]
    if sign == "?":
        return True, at + 1
    if sign == "[":
        end = pattern.find("]", at + 2 + (pattern[at + 1 : at + 2] in ("!", "^")))
        if end > 0:
            inside = pattern[at + 1 : end]
            negated = inside[:1] in ("!", "^")
            return _in_set(inside[negated:], character) != negated, end + 1
    if sign == "\\" and at + 1 < len(pattern):
        return pattern[at + 1] == character, at + 2
    return sign == character, at + 1


def _in_set(members: str, character: str) -> bool:
    index = 0
    while index < len(members):
        low = high = members[index]
        if members[index + 1 : index + 2] == "-" and index + 2 < len(members):
            high = members[index + 2]
            index += 2
        if low <= character <= high:
            return True
        index += 1
    return False
