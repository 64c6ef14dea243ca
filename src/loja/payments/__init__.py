"""The payment service: charges cards, and gives money back."""
