"""What happened in an operation, noted as it happens: one row for each request, job, event and handling."""
