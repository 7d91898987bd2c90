import asyncio
import base64
import functools
import io
import json
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from PIL import Image
from pydantic import SecretStr

from facekit.catalog import current_registry
from facekit.data.media_files import MediaFiles
from facekit.endpoints.addresses import parse_endpoint_spec
from facekit.endpoints.client import EndpointClient
from facekit.endpoints.failures import retry_after
from facekit.endpoints.requests import (
    ANSWER_SCHEMA,
    DeniedRequestError,
    EndpointError,
    FlaggedRequestError,
    PermanentCallError,
    RejectedRequestError,
    Request,
    TemporaryCallError,
)
from facekit.endpoints.transports import TRANSPORTS
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.spec import PartSpec

KEY = "sk-test-very-secret-key-0123"


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (300, 200), "blue").save(tmp_path / "face.png")
    return str(tmp_path / "face.png")


@pytest.fixture(params=TRANSPORTS)
def ask(request):
    """Asks the same question some times with one annotator, over each transport; returns replies, or raises."""
    return functools.partial(ask_over, request.param)


def ask_over(transport, server, picture, times=1, temperature=None, **options):
    async def talk():
        annotator = EndpointClient(
            "model", key=SecretStr(KEY), base_url=server.base_url, transport=transport, **options
        )
        request = Request(
            "key-1",
            "System.",
            "Prompt.",
            MediaFiles((picture,), 128),
            max_tokens=77,
            schema=ANSWER_SCHEMA,
            temperature=temperature,
        )
        try:
            return [await annotator.answer(request) for _ in range(times)]
        finally:
            await annotator.close()

    return asyncio.run(talk())


def test_a_call_sends_both_prompts_and_the_bounded_picture_once(ask, serve, picture):
    server = serve()
    (reply,) = ask(server, picture)
    (call,) = server.calls
    system, user = call.body["messages"]
    assert (system["content"], user["content"][0]["text"]) == ("System.", "Prompt.")
    (image,) = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
    sent = Image.open(io.BytesIO(base64.b64decode(image.removeprefix("data:image/jpeg;base64,"))))
    assert (sent.format, max(sent.size)) == ("JPEG", 128)
    assert call.body["max_tokens"] == 77
    assert (call.key, call.authorization) == ("key-1", f"Bearer {KEY}")
    assert (reply.model, reply.prompt_tokens, reply.completion_tokens) == ("model-served", 1000, 100)
    assert reply.text.startswith("The face shows")


def test_an_endpoint_without_structured_answers_is_asked_in_plain_text_from_then_on(ask, serve, picture):
    server = serve(structured=False)
    first, second = ask(server, picture, times=2)
    assert [call.outcome for call in server.calls] == ["unsupported", "answered", "answered"]
    assert first.text == second.text
    assert "response_format" not in server.calls[-1].body


@pytest.mark.parametrize(("faults", "error", "words"), [
    ({"too_many": 1.0, "retry_after": "3"}, TemporaryCallError, "status 429: slow down"),
    ({"server_error": 1.0}, TemporaryCallError, "status 500: internal error"),
    ({"dropped": 1.0}, TemporaryCallError, "the connection failed"),
    ({"malformed": 1.0}, TemporaryCallError, "not a chat completion"),
    ({"status": 400}, RejectedRequestError, "status 400"),
    ({"status": 401}, EndpointError, "the key is not accepted"),
    ({"status": 402}, EndpointError, "no credit left"),
    ({"status": 403}, DeniedRequestError, "status 403"),
    ({"status": 404}, EndpointError, "no such model or address"),
    ({"odd": 1.0, "oddity": "a flagged input, 403"}, FlaggedRequestError, "a content filter refuses the input"),
    ({"odd": 1.0, "oddity": "a flagged input, 400"}, FlaggedRequestError, "a content filter refuses the input"),
    ({"odd": 1.0, "oddity": "an error with status 200"}, TemporaryCallError, "status 502: upstream broke"),
    ({"odd": 1.0, "oddity": "choices that are an error"}, TemporaryCallError, "status 502: upstream broke"),
    ({"status": 503}, TemporaryCallError, "status 503"),
])  # fmt: skip
def test_failures_are_sorted_by_whether_they_pass(ask, serve, picture, faults, error, words):
    with pytest.raises(error, match=words):
        ask(serve(**faults), picture)


def test_the_wait_that_the_endpoint_asks_for_is_kept(ask, serve, picture):
    with pytest.raises(TemporaryCallError) as caught:
        ask(serve(too_many=1.0, retry_after="3"), picture)
    assert caught.value.retry_after == 3.0


def test_an_error_in_a_list_is_read_over_each_transport(ask, serve, picture, monkeypatch):
    body = [{"error": {"code": 429, "message": "Quota.", "details": [{"retryDelay": "37s"}]}}]
    monkeypatch.setattr("chat_server.error", lambda *_: _respond(429, json.dumps(body)))
    with pytest.raises(TemporaryCallError, match=r"^status 429: Quota\.$") as caught:
        ask(serve(status=429), picture)
    assert caught.value.retry_after == 37.0


def test_a_slow_answer_is_given_up_after_the_timeout(ask, serve, picture):
    with pytest.raises(TemporaryCallError, match=r"no answer within 0\.1 seconds"):
        ask(serve(latency=(3.0, 3.0)), picture, timeout=0.1)


def test_a_server_that_is_not_there_is_a_failed_connection(ask, picture):
    class Nobody:
        base_url = "http://127.0.0.1:9/v1"

    with pytest.raises(TemporaryCallError, match="the connection failed"):
        ask(Nobody, picture)


def test_a_broken_picture_is_no_call(ask, serve, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"x")
    server = serve()
    with pytest.raises(PermanentCallError, match="cannot be used"):
        ask(server, str(tmp_path / "broken.png"))
    assert server.calls == []


def test_the_key_is_in_no_error_answer_or_log(ask, serve, picture, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    echo = f"your key is {KEY}"
    server = serve(answer=lambda body: echo)
    (reply,) = ask(server, picture)
    assert reply.text == "your key is [key]"
    monkeypatch.setattr("chat_server.error", lambda status, message, headers=None: _echo_error(status, echo))
    for status in (400, 401, 500):
        server.faults.status = status
        with pytest.raises((RejectedRequestError, EndpointError, TemporaryCallError)) as caught:
            ask(server, picture)
        assert "[key]" in str(caught.value)
        assert KEY not in str(caught.value)
    assert KEY not in caplog.text


def _echo_error(status, words):
    return _respond(status, f'{{"error": {{"message": "{words}"}}}}')


def _respond(status, text):
    from chat_server import http

    return http(status, text.encode())


@pytest.mark.parametrize("given", ["30", "Retry-After-Date", "0.5"])
def test_both_forms_of_retry_after_are_read(given):
    if given == "Retry-After-Date":
        text = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        assert retry_after({"retry-after": text}) == pytest.approx(30, abs=2)
    else:
        assert retry_after({"retry-after": given}) == float(given)


def test_both_transports_send_the_same_headers_and_body(serve, picture, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    server, seen = serve(), []
    respond = server._respond

    async def watch(method, path, headers, body):
        seen.append((method, path, dict(headers), json.loads(body)))
        return await respond(method, path, headers, body)

    monkeypatch.setattr(server, "_respond", watch)
    for transport in TRANSPORTS:
        ask_over(transport, server, picture)
    (method, path, headers, body), other = seen
    assert (method, path, body) == (other[0], other[1], other[3])
    for name in ("authorization", "content-type", "openai-organization", "user-agent", "x-client-request-id"):
        assert headers[name] == other[2][name]


def test_a_proxy_of_the_environment_is_used_but_not_for_exceptions(serve, picture, monkeypatch):
    proxy = serve()
    for name, value in (("http_proxy", f"http://127.0.0.1:{proxy.port}"), ("no_proxy", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    server = serve()
    ask_over("aiohttp", server, picture)
    assert (len(server.calls), proxy.calls) == (1, [])
    monkeypatch.setenv("no_proxy", "elsewhere.test")
    with pytest.raises(EndpointError, match=r"no such path http://127\.0\.0\.1"):
        ask_over("aiohttp", server, picture)
    assert len(server.calls) == 1


def test_milliseconds_count_first_and_nonsense_does_not_count():
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "-5"}) == 0.0
    assert retry_after({}) is None


@pytest.mark.parametrize(
    "spec", ["openai:m?api_key=sk-12345678", "openai:m?token=sk-12345678", "openai:m?key=sk-12345678"]
)
def test_a_key_as_an_argument_is_refused_without_repeating_it(spec):
    with pytest.raises(InvalidSpecError, match="key_env=NAME") as caught:
        parse_endpoint_spec(spec)
    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize(("argument", "options", "words"), [
    (None, {}, "needs the name of a model"),
    ("m", {"base_ulr": "x"}, "did you mean 'base_url'"),
    ("m", {"base_url": "localhost"}, "is no address"),
    ("m", {"base_url": "http://user:pass@host/v1"}, "must not carry a key or password"),
    ("m", {"timeout": "soon"}, "cannot use timeout=soon: it takes a number above 0"),
    ("m", {"timeout": "-1"}, "cannot use timeout=-1: it takes a number above 0"),
    ("m", {"structured": "maybe"}, "cannot use structured=maybe: it takes true or false"),
    ("m", {"base_url": "http://localhost:1/v1", "transport": "pigeon"}, "it takes openai or aiohttp"),
])  # fmt: skip
def test_a_wrong_spec_says_what_is_wrong(argument, options, words):
    with pytest.raises(InvalidSpecError, match=words) as caught:
        current_registry().build("annotator", PartSpec("openai", argument, options), ask_key=None)
    assert "pass@" not in str(caught.value)


def test_a_hosted_endpoint_needs_a_key_and_a_local_one_does_not(monkeypatch):
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY has no API key"):
        EndpointClient.from_spec("m")
    with pytest.raises(ConfigurationError, match="MINE has no API key"):
        EndpointClient.from_spec("m", base_url="http://localhost:1/v1", key_env="MINE")
    assert EndpointClient.from_spec("m", base_url="http://localhost:1/v1").key is None
    monkeypatch.setenv("MINE", KEY)
    assert EndpointClient.from_spec("m", key_env="MINE").key.get_secret_value() == KEY


def test_a_model_that_thinks_is_asked_in_its_way_from_the_third_call_on(ask, serve, picture):
    server = serve(thinking_model=True)
    first, second = ask(server, picture, times=2, temperature=0.0)
    assert [call.outcome for call in server.calls] == ["unsupported", "unsupported", "answered", "answered"]
    assert first.text == second.text
    assert server.calls[-1].body["max_completion_tokens"] == 77
    assert not {"temperature", "max_tokens"} & set(server.calls[-1].body)


def test_many_calls_at_once_learn_together(serve, picture):
    server = serve(thinking_model=True, structured=False)

    async def talk():
        client = EndpointClient("m", base_url=server.base_url)
        request = Request("k", "", "Prompt.", None, temperature=0.0, schema=ANSWER_SCHEMA)
        try:
            return await asyncio.gather(*(client.answer(request) for _ in range(12)))
        finally:
            await client.close()

    assert len({reply.text for reply in asyncio.run(talk())}) == 1
    assert sum(call.outcome == "answered" for call in server.calls) == 12


def test_a_client_can_be_used_again_in_another_loop(serve, picture):
    server = serve()
    client = EndpointClient("m", base_url=server.base_url)

    async def talk():
        try:
            return await client.answer(Request("k", "", "Prompt.", MediaFiles((picture,), 64)))
        finally:
            await client.close()

    assert asyncio.run(talk()).text == asyncio.run(talk()).text


def test_the_fast_transport_is_the_default_where_it_is_installed():
    pytest.importorskip("aiohttp")
    assert EndpointClient("m", base_url="http://127.0.0.1:1/v1").transport == "aiohttp"


def test_aiohttp_that_came_with_another_package_is_enough(ask, serve, picture, monkeypatch):
    def lacking(**_):
        raise RuntimeError("To use the aiohttp client you must have installed the package with the `aiohttp` extra")

    monkeypatch.setattr("openai.DefaultAioHttpClient", lacking)
    (reply,) = ask(serve(), picture)
    assert reply.text.startswith("The face shows")


def test_text_alone_is_sent_as_text(serve):
    server = serve()

    async def talk():
        client = EndpointClient("m", base_url=server.base_url)
        try:
            await client.answer(Request("k", "", "Prompt."))
        finally:
            await client.close()

    asyncio.run(talk())
    assert server.calls[0].body["messages"] == [{"role": "user", "content": "Prompt."}]
