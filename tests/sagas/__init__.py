"""Sagas: the function, the record, waits, undos, and what people do to runs."""
