"""Bytes and messages between this computer and an instrument: transports, time-outs, who owns an address."""
