"""Singing and speech voice conversion."""
