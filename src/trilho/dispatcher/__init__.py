"""The loops that keep promises."""
