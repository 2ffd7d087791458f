"""Protobuf ↔ core, both directions, and errors ↔ gRPC status."""
