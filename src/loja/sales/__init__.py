"""Sales files: written, read, summed, stored and asked."""
