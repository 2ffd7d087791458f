"""The server of llama.cpp, by itself: ``python llama_server.py MODEL``; says where it listens.

Runs in the environment of the model servers, without this project. Ends with its standard input.
"""

import sys

import xllamacpp  # type: ignore[import-not-found]  # only the servers' environment has it


def main() -> None:
    """Serve until whoever started this closes the pipe."""
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 65536
    params.n_parallel = 2
    params.use_jinja = True
    params.warmup = False
    server = xllamacpp.Server(params)
    sys.stdout.write(server.listening_address + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
