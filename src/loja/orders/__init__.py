"""The order service: takes orders, and learns from the others' events how they go."""
