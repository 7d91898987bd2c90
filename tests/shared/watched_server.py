"""A model server whose process writes down every file that it opens and every connection that it makes.

Run as ``python watched_server.py LOG``; it prints its address. The names ``pictures.test`` and ``inside.test`` lead to
127.0.0.1 and 127.0.0.2; the first of them counts as an address of the open internet, the second as what it is.
"""

from __future__ import annotations

import json
import os
import socket
import sys

WATCHED = ("open", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.listdir")
KNOWN = {"pictures.test": "127.0.0.1", "inside.test": "127.0.0.2"}


def watch(log):
    """Append a JSON line for each event of the interpreter that opens, connects, looks up or starts something."""
    target = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def note(event, arguments):
        if event in WATCHED:
            told = [repr(each) for each in arguments if not isinstance(each, socket.socket)]
            os.write(target, json.dumps([event, *told]).encode() + b"\n")

    sys.addaudithook(note)


def main(log):
    """Serve a small model until told to end."""
    from small_runs import small_model

    from facekit.serving import ServerSettings, addresses, serve

    real_look_up, is_really_public = addresses.socket.getaddrinfo, addresses.is_public

    def look_up(host, port, *arguments, **options):
        if host in KNOWN:
            return [(2, 1, 6, "", (KNOWN[host], port))]
        return real_look_up(host, port, *arguments, **options)

    addresses.socket.getaddrinfo = look_up
    addresses.is_public = lambda address: address == "127.0.0.1" or is_really_public(address)
    model, processor = small_model("mlp")
    processor.image_processor.landmarker = None
    settings = ServerSettings("tiny", port=0, allow_hosts=(*KNOWN, "127.0.0.1", "localhost", "169.254.169.254"))
    watch(log)
    serve(model, processor, settings, on_ready=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main(sys.argv[1])
