"""What we remember: blobs on disk, and the log with its catalog in SQL."""
