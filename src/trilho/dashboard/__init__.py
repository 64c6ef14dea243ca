"""Pages about what runs and what ran: data, templates and static files."""
