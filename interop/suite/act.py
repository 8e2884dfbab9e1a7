"""The command behind ``$INTEROP_CONTROL``, run as a script: hand the words to the suite, print its answer.

It knows nothing of the suite but the socket, so that it starts fast and under any Python.
"""

import socket
import sys


def main(address: str, words: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall("\0".join(words).encode() + b"\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    status, _, text = answer.partition(" ")
    if text:
        print(text)
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
