"""Two models of one server: each answers by its own name."""

import pytest
from model_server import QUESTION, httpx, running, user

import facekit


@pytest.fixture(scope="module")
def other_model():
    return facekit.create(encoder="tiny", connector="mlp", backbone="tiny", seed=5)


@pytest.fixture(scope="module")
def address(served_model, other_model):
    with running(*served_model, others={"other": other_model}, max_new_tokens=12) as url:
        yield url


def test_both_are_listed_and_each_answers_by_its_name(address, served_model, other_model, portrait, portrait_url):
    listed = httpx.get(f"{address}/v1/models").json()["data"]
    assert [each["id"] for each in listed] == ["tiny", "other"]
    assert [each["facekit"]["region_maps"] for each in listed] == [True, False]
    assert httpx.get(f"{address}/v1/models/other").json()["id"] == "other"
    texts = []
    for name, parts in (("tiny", served_model), ("other", other_model)):
        body = {"model": name, "messages": [user(QUESTION, portrait_url)]}
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).json()
        assert reply["model"] == name
        texts.append(reply["choices"][0]["message"]["content"])
        assert texts[-1] == facekit.ask(*parts, portrait, QUESTION, max_new_tokens=12)[0]
    assert texts[0] != texts[1]


def test_a_third_name_is_told_what_there_is(address):
    body = {"model": "third", "messages": [{"role": "user", "content": "Hello"}]}
    reply = httpx.post(f"{address}/v1/chat/completions", json=body)
    assert reply.status_code == 404
    assert "'tiny' and 'other'" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("options", "piece"),
    [
        (["--second-model", "/elsewhere/nowhere"], "give --second-name"),
        (["--second-model", "/elsewhere/b", "--second-name", "nowhere"], "give --second-name"),
        (["--second-name", "b"], "give --second-model"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused_before_loading(run_facekit, options, piece):
    status, _, error = run_facekit("serve", "/nowhere", *options)
    assert status == 2
    assert piece in error
