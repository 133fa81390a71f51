"""Memristor chips as physical units: profiles, limits, bias schemes, and the chips on each kind of hardware."""
