"""provreg: prove offline, months later, which model version made an AI output."""
