"""Who may do what: credentials, grants, signatures of URLs, rate limits and the audit log."""
