"""Emulators: the mock physics behind each instrument's own language, on a real socket or pseudo-terminal."""
