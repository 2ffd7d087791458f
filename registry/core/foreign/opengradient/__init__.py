"""Responses of OpenGradient's gateway, signed in an AWS Nitro enclave."""
