"""Physics without wires: seeded models of the devices that the drivers control."""
