"""Reports on runs: tables, figures and SQL queries."""
