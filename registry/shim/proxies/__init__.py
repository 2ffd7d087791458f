"""Ways into a model: one file per kind of server or engine, all feeding the same recorder."""
