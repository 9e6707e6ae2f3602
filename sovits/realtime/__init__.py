"""Conversion while somebody speaks: an engine without devices, and the devices."""
