"""The shipping service: finds a carrier for what is paid and put aside."""
