"""The inventory service: how much is left, and what is put aside for which order."""
