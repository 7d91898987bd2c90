"""JSON answers: each is as the client's schema says, and a hostile schema is refused."""

import json
import sys

import openai
import pytest
from model_server import QUESTION, httpx, running, user

from facekit.serving.json_format import JsonFormats
from facekit.serving.protocol import JsonSchemaFormat

SCHEMA = {
    "type": "object",
    "properties": {
        "expression": {"enum": ["happiness", "anger"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "visible": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2},
    },
    "required": ["expression", "age", "visible"],
    "additionalProperties": False,
}


def schema_format(schema, name="face"):
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


@pytest.fixture
def client(server):
    pytest.importorskip("llguidance")
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


def test_every_answer_is_as_the_schema_says(client, portrait_url):
    validate = pytest.importorskip("jsonschema").validate
    asked = {"model": "tiny", "messages": [user(QUESTION, portrait_url)], "max_tokens": 96}
    formed = {**asked, "response_format": schema_format(SCHEMA)}
    greedy = client.chat.completions.create(**formed).choices[0]
    drawn = client.chat.completions.create(**formed, n=6, seed=3, temperature=1.5).choices
    for choice in [greedy, *drawn]:
        assert choice.finish_reason == "stop"
        validate(json.loads(choice.message.content), SCHEMA)
    assert len({choice.message.content for choice in drawn}) > 1
    streamed = client.chat.completions.create(stream=True, **formed)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == greedy.message.content


def test_rows_of_a_batch_keep_to_their_own_schema_or_to_none(client, served_model, portrait_url):
    """Four about one picture share the reading of their beginning."""
    plain = {"model": "tiny", "messages": [user(QUESTION, portrait_url)]}
    alone = client.chat.completions.create(**plain).choices[0].message.content
    formats = [None, schema_format({"enum": ["yes", "no"]}), None, schema_format({"const": {"age": 3}})]
    from concurrent.futures import ThreadPoolExecutor

    with running(*served_model, max_new_tokens=12, batch_seconds=0.3) as address:
        together = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)

        def ask(wanted):
            given = {} if wanted is None else {"response_format": wanted}
            return together.chat.completions.create(**plain, **given, max_tokens=12).choices[0].message.content

        with ThreadPoolExecutor(4) as pool:
            first, choice, third, constant = pool.map(ask, formats)
    assert first == third == alone
    assert json.loads(choice) in ("yes", "no")
    assert json.loads(constant) == {"age": 3}


def test_a_grammar_knows_whole_answers_from_parts_of_them(served_model):
    pytest.importorskip("llguidance")
    _, processor = served_model
    formats = JsonFormats(processor.tokenizer, [processor.tokenizer.eos_token_id])
    grammar = formats.compile(JsonSchemaFormat.model_validate(schema_format({"enum": ["yes", "no"]})))
    verdicts = {
        text: grammar.accepts(processor.tokenizer.encode(text, add_special_tokens=False))
        for text in ('"yes"', '"ye', '"yes" ', "yes", "")
    }
    assert verdicts == {'"yes"': True, '"ye': False, '"yes" ': False, "yes": False, "": False}
    assert json.loads(grammar.schema)["x-guidance"]["whitespace_flexible"] is False


def test_an_object_is_a_json_object_or_ends_at_the_limit(client, portrait_url):
    asked = {"model": "tiny", "messages": [user(QUESTION, portrait_url)], "response_format": {"type": "json_object"}}
    for seed in range(4):
        choice = client.chat.completions.create(**asked, seed=seed, temperature=1.2, max_tokens=200).choices[0]
        assert choice.message.content.startswith("{")
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


HOSTILE = {
    "too long": {"enum": ["x" * 200 + str(number) for number in range(1000)]},
    "too deep": nested(130),
    "a reference to itself": {"$ref": "#"},
    "a remote reference": {"$ref": "http://127.0.0.1:9/schema.json"},
    "a file": {"$ref": "file:///etc/passwd"},
    "an unknown type": {"type": "strang"},
    "an unsupported keyword": {"not": {"type": "string"}},
    "an unsupported keyword, allowed by itself": {"not": {"type": "string"}, "x-guidance": {"lenient": True}},
    "a pattern that looks ahead": {"type": "string", "pattern": "(?=a)b"},
    "nothing can be so": {"type": "integer", "minimum": 5, "maximum": 4},
    "no value at all": {"enum": []},
    "a product": {
        "allOf": [
            {"anyOf": [{"properties": {f"a{i}": {"type": "integer"}}}, {"properties": {f"b{i}": {"type": "string"}}}]}
            for i in range(14)
        ]
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_refused_in_one_sentence(client, server, name):
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    body = {**asked, "response_format": schema_format(HOSTILE[name])}
    reply = httpx.post(f"{server}/v1/chat/completions", json=body, timeout=60)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] == "response_format"
    assert "\n" not in error["message"]
    assert "passwd" not in error["message"] or "registry" in error["message"]
    assert "facekit_open_answers 0.0" in httpx.get(f"{server}/metrics").text


def test_a_recursive_schema_is_followed(client, portrait_url):
    node = {
        "type": "object",
        "properties": {"name": {"enum": ["a"]}, "child": {"$ref": "#/$defs/node"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    schema = {"$defs": {"node": node}, "$ref": "#/$defs/node"}
    asked = {"model": "tiny", "messages": [user(QUESTION, portrait_url)], "response_format": schema_format(schema)}
    choice = client.chat.completions.create(**asked, max_tokens=300).choices[0]
    if choice.finish_reason == "stop":
        assert json.loads(choice.message.content)["name"] == "a"
    assert choice.message.content.startswith('{"name": "a"')


def test_without_the_extra_the_client_reads_what_the_server_lacks(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hello"}],
        "response_format": {"type": "json_object"},
    }
    reply = httpx.post(f"{server}/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == (
        "JSON answers need the extra 'json' on the server: pip install 'facekit-mllm[json]'"
    )
