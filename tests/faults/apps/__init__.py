"""The application that the workers of the fault tests run, configured by its environment only."""
