"""Bring-up of a chip: pure procedures over a probe, each from settings to findings."""
