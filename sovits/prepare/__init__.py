"""From a folder of recordings to features that can be trained on."""
