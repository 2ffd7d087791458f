"""The server, asked over real gRPC."""
