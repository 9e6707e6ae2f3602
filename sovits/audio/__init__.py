"""Sound in, sound out, no networks: reading, writing, resampling, spectra, cutting and joining."""
