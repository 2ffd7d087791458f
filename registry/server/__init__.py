"""The registry as a gRPC service."""
