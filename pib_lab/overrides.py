"""`--set key.path=value` on a protocol's text: comments are kept, so the run file shows what was really run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError
from tomlkit.items import AoT

from pib_lab.errors import ConfigurationError, LimitError, nearest


def apply_overrides(text: str, overrides: Sequence[str]) -> str:
    """The protocol with each `key.path=value` set; values in TOML, a bare word is a text.

    Entries of [[units]] and the like are named by position or by their `name`. Raises ConfigurationError for a text
    that is no TOML, and for a path that leads nowhere, with the nearest right name.
    """
    if not overrides:
        return text
    try:
        tree = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConfigurationError(f"the protocol is not valid TOML: {error}") from None
    for override in overrides:
        _set(tree, override)
    return tomlkit.dumps(tree)


def refuse_other_profiles(overrides: Sequence[str], real: Collection[str]) -> None:
    """A real device's profile holds its limits: naming another one is for whoever writes the protocol, not for --set.

    real: names under [hardware] of devices that are really there. Raises LimitError.
    """
    for override in overrides:
        path, _, value = override.partition("=")
        if not real:
            return
        room, *rest = path.strip().split(".")
        named = rest[:1] == [] or rest[0] in real
        if room == "hardware" and named and (rest[1:] == ["profile"] or (len(rest) < 2 and "profile" in value)):
            raise LimitError(
                f"--set {override}: a profile holds the limits of a real device, and --set must not change them; "
                "name the profile in the protocol file, or lower single limits with override.KEY"
            )


def _set(tree: Any, override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigurationError(f"--set {override}: write key.path=value, such as schedule.epochs=5")
    node = tree
    for position, key in enumerate(keys[:-1]):
        node = _child(node, key, override, ".".join(keys[:position]))
    last = keys[-1]
    if isinstance(node, AoT):
        entry = ".".join(keys)
        raise ConfigurationError(f"--set {override}: {entry} is a table; set one of its keys, as {entry}.KEY=VALUE")
    if isinstance(node, list):
        node[_list_index(node, last, override)] = _value(text)
    elif hasattr(node, "keys"):
        node[last] = _value(text)
    else:
        raise ConfigurationError(f"--set {override}: {'.'.join(keys[:-1])} is a value, not a table")


def _child(node: Any, key: str, override: str, path: str) -> Any:
    if isinstance(node, list):
        return node[_list_index(node, key, override)]
    if not hasattr(node, "keys"):
        raise ConfigurationError(f"--set {override}: {path} is a value, not a table")
    if key not in node:
        node[key] = tomlkit.table()
    return node[key]


def _value(text: str) -> Any:
    try:
        return tomlkit.value(text.strip())
    except (ParseError, ValueError):
        return text.strip()


def _list_index(items: list[Any], key: str, override: str) -> int:
    if key.isdigit() and int(key) < len(items):
        return int(key)
    names = [str(item["name"]) for item in items if hasattr(item, "keys") and "name" in item]
    if key in names:
        return names.index(key)
    known = names or [str(index) for index in range(len(items))]
    raise ConfigurationError(
        f"--set {override}: {key!r} is not an entry{nearest(key, known)} (known: {', '.join(known)})"
    )
