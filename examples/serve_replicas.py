"""Several replicas of a model behind one address, by Ray Serve: each is a facekit server, Ray spreads the requests.

    pip install 'facekit-mllm[serve]' 'ray[serve]'
    python examples/serve_replicas.py runs/demo --replicas 2           # http://127.0.0.1:8000/v1, until Ctrl-C

With GPUs, ``--gpus 1`` gives each replica one. On a cluster that `ray start` made, ``--address auto`` joins it; every
machine has the model at the same path or hub id. Set FACEKIT_API_KEY before any other host than 127.0.0.1.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import Any

import ray
from ray import serve

import facekit
from facekit.serving import ServerSettings, create_app


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a folder or hub id that facekit loads")
    parser.add_argument("--name", help="the model's name for clients; by default that of its folder")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--gpus", type=float, default=0, help="of each replica")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--address", help="of a Ray cluster; by default one is started here")
    return parser.parse_args()


def deploy(options: argparse.Namespace) -> None:
    """Start the replicas and return when they answer."""
    key = os.environ.get("FACEKIT_API_KEY")
    name = options.name or Path(options.model).name
    model = str(Path(options.model).resolve()) if Path(options.model).exists() else options.model
    settings = ServerSettings(name, host=options.host, port=options.port, api_key=key)

    def build() -> Any:  # runs in each replica
        return create_app(*facekit.load(model), settings)

    room = settings.max_batch + settings.max_waiting  # beyond, a replica answers 429 by itself
    deployment = serve.deployment(
        serve.ingress(build)(Replica),
        num_replicas=options.replicas,
        max_ongoing_requests=2 * room,
        ray_actor_options={"num_cpus": 1, "num_gpus": options.gpus},
    )
    serve.start(http_options={"host": options.host, "port": options.port})
    serve.run(deployment.bind(), name=name)


class Replica:
    """One server; its application is that of ``facekit serve``."""


def main() -> None:
    """Deploy, and wait for Ctrl-C or SIGTERM."""
    options = parse_arguments()
    ray.init(address=options.address, log_to_driver=False)
    deploy(options)
    print(f"{options.replicas} replicas at http://{options.host}:{options.port}/v1; Ctrl-C ends them", flush=True)
    stop = signal.sigwait({signal.SIGINT, signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()
    raise SystemExit(0 if stop == signal.SIGTERM else 130)


if __name__ == "__main__":
    main()
