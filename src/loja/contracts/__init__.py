"""What the services of an order share: the events on their topics, and the catalogue."""
