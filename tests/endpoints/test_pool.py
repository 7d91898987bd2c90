import asyncio

import pytest

from facekit.data.media_files import MediaFiles
from facekit.endpoints.client import EndpointClient
from facekit.endpoints.pool import ClientPool
from facekit.endpoints.requests import EndpointError, Request
from facekit.errors import ConfigurationError


def ask(server, *requests):
    async def talk():
        pool = ClientPool(EndpointClient("m", base_url=server.base_url), 1)
        try:
            async with asyncio.timeout(60):
                return await asyncio.gather(*map(pool.answer, requests), return_exceptions=True)
        finally:
            await pool.close()

    return asyncio.run(talk())


@pytest.mark.parametrize(("fault", "kind", "words"), [
    ({"media": MediaFiles(("face.png",), image_side=1)}, ConfigurationError, "image_side=1 is out of range"),
    ({"media": MediaFiles((3,))}, EndpointError, "a worker process failed (TypeError: "),
])  # fmt: skip
def test_an_error_that_is_of_no_call_reaches_the_main_process_and_the_worker_goes_on(serve, fault, kind, words):
    first, second = ask(serve(), Request("one", "", "Prompt.", **fault), Request("two", "", "Prompt."))
    assert type(first) is kind
    assert words in str(first)
    assert second.text.startswith("The face shows")
