"""Who may do what: keys and their scopes, the gate before every route, the names the server answers to, the audit log."""
