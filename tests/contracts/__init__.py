"""What every storage promises, asked of SQLite and of PostgreSQL."""
