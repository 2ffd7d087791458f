"""What a shim keeps of calls for itself alone: commitments to fields, payloads sealed at rest."""
