"""Source-measure units and the switch matrix behind one interface each."""
