"""JSON text in which one value changes and every other byte stays: spaces, key order, how numbers are written.

A path is the keys from the root down, such as `("models", "l2cs_path")`. Texts are whole JSON files with an
object at the root, checked by `parse` before anything else.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

KeyPath = tuple[str, ...]

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class _Member:
    key: str
    start: int
    """Of the key's opening quote."""
    value: int
    """Start of the value."""
    end: int
    """Just behind the value."""


def parse(text: str) -> dict[str, Any]:
    """Parse strictly, as the client's own parser does.

    Raises:
        ValueError: not JSON, a number that JSON has not (NaN), a key twice, or no object at the root.
    """
    content = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_each_key_once)
    if not isinstance(content, dict):
        raise ValueError("the file holds no object { ... }")  # noqa: TRY004
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} stands twice in one object")
    return made


def value_text(text: str, path: KeyPath) -> str | None:
    """The text of a value as it stands; None where the path leads nowhere."""
    start = _root(text)
    for depth, key in enumerate(path):
        found = {member.key: member for member in _members(text, start)}.get(key) if text[start] == "{" else None
        if found is None:
            return None
        if depth == len(path) - 1:
            return text[found.value : found.end]
        start = found.value
    return None


def missing_from(text: str, path: KeyPath) -> KeyPath | None:
    """The shortest beginning of the path that is not there; None when all of it is."""
    beginnings = (path[: length + 1] for length in range(len(path)))
    return next((each for each in beginnings if value_text(text, each) is None), None)


def with_value(text: str, path: KeyPath, new: str) -> str:
    """Replace a value, or add it (and the objects on the way to it) in the file's own layout.

    Args:
        text: the file.
        path: where.
        new: JSON of the value.

    Raises:
        ValueError: something on the way is no object.

    >>> with_value('{"a": {"b": 1.50}, "c":2}', ("a", "b"), "7")
    '{"a": {"b": 7}, "c":2}'
    >>> with_value('{"a": {"b": 1.50}, "c":2}', ("a", "d"), "7")
    '{"a": {"b": 1.50, "d": 7}, "c":2}'
    """
    start = _root(text)
    for depth, key in enumerate(path):
        if text[start] != "{":
            raise ValueError(f"'{'.'.join(path[:depth])}' is no object {{ ... }}")
        found = {member.key: member for member in _members(text, start)}.get(key)
        if found is None:
            return _insert(text, start, path[depth:], new)
        if depth == len(path) - 1:
            return text[: found.value] + new + text[found.end :]
        start = found.value
    raise ValueError("the path is empty")


def without(text: str, path: KeyPath) -> str:
    """Take a member out of its object, with its comma; a path that leads nowhere changes nothing.

    >>> without('{"a": 1, "b": 2}', ("b",)), without('{"a": 1, "b": 2}', ("a",))
    ('{"a": 1}', '{"b": 2}')
    """
    if value_text(text, path) is None:
        return text
    start = _root(text)
    for key in path[:-1]:
        start = next(member.value for member in _members(text, start) if member.key == key)
    members = _members(text, start)
    index = next(i for i, member in enumerate(members) if member.key == path[-1])
    if len(members) == 1:
        return text[: start + 1] + text[_skip(text, members[0].end) :]
    if index == len(members) - 1:
        return text[: members[index - 1].end] + text[members[index].end :]
    return text[: members[index].start] + text[members[index + 1].start :]


def _skip(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    assert found is not None
    return found.end()


def _root(text: str) -> int:
    return _skip(text, 0)


def _members(text: str, start: int) -> list[_Member]:
    """Members of the object whose brace stands at `start`; the text is known to be valid."""
    members: list[_Member] = []
    at = _skip(text, start + 1)
    while text[at] != "}":
        key, behind = _DECODER.raw_decode(text, at)
        value = _skip(text, _skip(text, behind) + 1)
        _, end = _DECODER.raw_decode(text, value)
        members.append(_Member(key=key, start=at, value=value, end=end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return members


def _insert(text: str, start: int, path: KeyPath, new: str) -> str:
    """Add `path` behind the last member of the object at `start`."""
    members = _members(text, start)
    if not members:
        own = _newline(text) + _indent_at(text, start) if "\n" in text else ""
        before = own + _unit(text) if own else ""
        member = _member_text(text, path, new, before=before)
        return text[: start + 1] + before + member + own + text[_skip(text, start + 1) :]
    last = members[-1]
    before = text[start + 1 : last.start] if len(members) == 1 else text[members[-2].end : last.start]
    before = before.rpartition(",")[2]
    member = _member_text(text, path, new, before=before)
    return text[: last.end] + "," + (before or _gap(text)) + member + text[last.end :]


def _member_text(text: str, path: KeyPath, new: str, *, before: str) -> str:
    """`"key": value`, with the objects of a longer path, over several lines where the file is written so."""
    content: Any = json.loads(new)
    for key in reversed(path[1:]):
        content = {key: content}
    colon = ": " if '": ' in text or "\n" in text else ":"
    written = new if len(path) == 1 else json.dumps(content, ensure_ascii=False, separators=("," + _gap(text), colon))
    if len(path) > 1 and "\n" in before:
        lines = json.dumps(content, ensure_ascii=False, indent=_unit(text)).split("\n")
        written = (_newline(text) + before.rpartition("\n")[2]).join(lines)
    return json.dumps(path[0], ensure_ascii=False) + colon + written


def _gap(text: str) -> str:
    """What stands behind a comma within a line."""
    return " " if ", " in text else ""


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent_at(text: str, at: int) -> str:
    """White space at the start of the line on which `at` stands."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """One level of indentation, from the first line that has any."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found.group(1) if found else "  "
