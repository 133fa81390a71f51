"""Making devices safe from outside the run: the guardian, its commands and links."""
