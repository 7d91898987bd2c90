"""A model server in a thread, and requests for it; a conftest imports the fixtures that its tests use."""

import base64
import importlib
import importlib.util
import io
import socket
import threading
from contextlib import contextmanager

import pytest
import uvicorn
from PIL import Image
from skimage.data import astronaut

import facekit
from facekit.serving import Engine, ServerSettings, create_app

# The client that openai brings; its older versions brought httpx.
httpx = importlib.import_module("httpx2" if importlib.util.find_spec("httpx2") else "httpx")
QUESTION = "Which expression does the face show?"


def data_url(picture, format="PNG"):
    stream = io.BytesIO()
    picture.save(stream, format)
    return f"data:image/{format.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def user(text, *urls):
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [*pictures, {"type": "text", "text": text}]}


@pytest.fixture(scope="session")
def served_model():
    return facekit.create(encoder="tiny", connector="region", backbone="tiny", seed=3)


@pytest.fixture(scope="session")
def portrait():
    return Image.fromarray(astronaut()).crop((100, 0, 356, 256))


@pytest.fixture(scope="session")
def portrait_url(portrait):
    return data_url(portrait)


@contextmanager
def running(model, processor, *, name="tiny", others=None, make_engine=Engine, **options):
    """A server in a thread; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    app = create_app(model, processor, ServerSettings(name, **options), others=others, make_engine=make_engine)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(served_model):
    with running(*served_model, max_new_tokens=12) as address:
        yield address
