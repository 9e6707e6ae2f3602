"""Other people's files: settings and checkpoints of so-vits-svc 4.0, 4.1 and the fork."""
