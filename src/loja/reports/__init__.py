"""Reports about the sales, sent by mail."""
