"""python3 -m taskforge --port 8000 --db tasks.db"""

import argparse

from taskforge.db import open_database
from taskforge.server import build_server
from taskforge.store import TaskStore


def main():
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="taskforge", description="A small task manager.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--db", default="tasks.db", help="where the tasks are kept")
    words = parser.parse_args()
    server = build_server(TaskStore(open_database(words.db)), words.host, words.port)
    print(f"TaskForge: http://{words.host}:{server.server_address[1]}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
