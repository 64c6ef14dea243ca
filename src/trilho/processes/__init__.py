"""Live processes: leases, duties, and what dead ones leave."""
