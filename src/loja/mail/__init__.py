"""Mail: built, sent over SMTP, and looked at where it was caught."""
