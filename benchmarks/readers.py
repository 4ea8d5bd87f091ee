"""`python -m benchmarks.readers PORT N`: N open pages, without their browsers.

Each holds the dashboard's stream of events open and takes what comes, until this process is ended.
"""

import select
import socket
import sys
import time

REQUEST = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
RETRY_S = 0.1  # until there is a dashboard
READ_BYTES = 1 << 20


def main() -> None:
    port, pages = int(sys.argv[1]), int(sys.argv[2])
    opened = [_open(port) for _ in range(pages)]
    while opened:
        readable, _, _ = select.select(opened, [], [])
        for page in readable:
            if not page.recv(READ_BYTES):
                opened.remove(page)
                page.close()


def _open(port: int) -> socket.socket:
    while True:
        try:
            page = socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(RETRY_S)
        else:
            page.sendall(REQUEST)
            return page


if __name__ == "__main__":
    main()
