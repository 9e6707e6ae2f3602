"""A song becomes a voice and its accompaniment, and a voice loses noise and reverberation."""
