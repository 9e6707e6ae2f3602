"""How good a conversion is, in numbers."""
