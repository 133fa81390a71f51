"""The serial crossbar board: frames, messages, link and driver."""
