"""The devices that a protocol names, as far as its text tells. No Qt."""

from __future__ import annotations

import tomllib

import protocols
from pib_lab.errors import ConfigurationError

NO_HARDWARE = frozenset({"mock-memristor-chip", "mock-optical-rig", "digital-weights"})
"""Shipped drivers that drive nothing: for them nobody has to wait for a dry run. Of others a dry run tells."""


def devices_of(protocol: str) -> dict[str, str]:
    """Names under [hardware] of a protocol, with their drivers; none of one that cannot be read."""
    try:
        tree = tomllib.loads(protocols.read(protocol)[1])
        return {name: str(part["driver"]) for name, part in tree["hardware"].items()}
    except (ConfigurationError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        return {}


def has_links(protocol: str) -> bool:
    """Whether any of its devices is real, so that something goes over a link."""
    return bool(set(devices_of(protocol).values()) - NO_HARDWARE)
