"""Light: modulators, cameras and shutters behind three small interfaces, and what is built from them."""
