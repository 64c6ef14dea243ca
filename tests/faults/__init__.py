"""Real processes are killed, stopped, cut off and restarted; what happened is counted outside of Trilho."""
