"""Networks that are trained: the VITS synthesizer, its decoders, and what judges them."""
