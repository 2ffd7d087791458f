"""The client, against real registries, and against registries that lie."""
