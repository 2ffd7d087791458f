"""The log, its catalog and the access lists in SQL: SQLite or PostgreSQL, the same code."""
