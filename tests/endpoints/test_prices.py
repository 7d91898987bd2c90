import asyncio

import pytest

from facekit.data.media_files import MediaFiles
from facekit.endpoints.budget import Budget
from facekit.endpoints.prices import Price, find_price, load_prices, model_price, prompt_tokens, reply_tokens
from facekit.endpoints.requests import Reply, Request
from facekit.errors import ConfigurationError


def request(**values):
    media, side = values.pop("media", ("a.png",)), values.pop("image_side", 512)
    return Request("k", "s" * 35, "p" * 35, MediaFiles(media, side) if media else None)


def test_cost_is_per_million_tokens_and_half_in_a_batch():
    price = Price(input=2.5, output=10.0, batch=0.5)
    assert price.cost(1_000_000, 100_000) == 3.5
    assert price.in_batch().cost(1_000_000, 100_000) == 1.75


def test_dated_models_are_found_and_the_smaller_model_is_not_taken_for_the_larger():
    table = load_prices()
    assert find_price(table, "gpt-4o-2024-11-20").input == 2.5
    assert find_price(table, "gpt-4o-mini-2024-07-18").input == 0.15
    assert find_price(table, "gpt-4.1-mini").output == 1.6
    assert find_price(table, "no-such-model") is None


def test_the_users_table_comes_first(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("gpt-4o*: {input: 1, output: 2}\nlocal/*: {input: 0, output: 0}\n")
    table = load_prices(path)
    assert find_price(table, "gpt-4o").input == 1
    assert find_price(table, "local/llama").output == 0
    assert find_price(table, "gpt-4.1").input == 2.0


@pytest.mark.parametrize(("text", "words"), [
    ("gpt: {input: -1, output: 2}", "gpt.input"),
    ("gpt: {input: 1, output: 2, outputs: 3}", "gpt.outputs"),
    ("gpt: [1, 2", "cannot be read"),
])  # fmt: skip
def test_a_wrong_table_names_the_entry(tmp_path, text, words):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        load_prices(path)


def test_a_budget_needs_a_price():
    with pytest.raises(ConfigurationError, match=r"no model 'gpt-4-o'.*--prices"):
        model_price(load_prices(), "gpt-4-o", required=True)


def test_pictures_count_by_tiles_as_for_gpt_4o():
    price = Price(input=1, output=1)
    assert prompt_tokens(request(media=()), price) == 36
    assert prompt_tokens(request(image_side=512), price) == 36 + 85 + 170
    assert prompt_tokens(request(image_side=1024), price) == 36 + 85 + 170 * 4
    assert prompt_tokens(request(image_side=512, media=("a", "b")), price) == 36 + 2 * 255


def test_tokens_are_estimated_where_the_endpoint_is_silent():
    price = Price(input=1, output=1)
    assert reply_tokens(request(), Reply("x" * 35, "m"), price) == (291, 10)
    assert reply_tokens(request(), Reply("x", "m", prompt_tokens=7, completion_tokens=1), price) == (7, 1)


def test_money_is_put_aside_so_that_the_limit_is_never_passed():
    async def spend():
        budget, running, most = Budget(1.0, spent=0.25), 0.0, 0.0

        async def call():
            nonlocal running, most
            while await budget.put_aside(0.2):
                running += 0.2
                most = max(most, budget.spent + running)
                await asyncio.sleep(0)
                running -= 0.2
                budget.settle(0.2, 0.1)

        await asyncio.gather(*(call() for _ in range(5)))
        return budget, most

    budget, most = asyncio.run(spend())
    assert most <= 1.0 + 1e-9
    assert budget.spent == pytest.approx(0.85)


def test_a_negative_budget_is_refused():
    with pytest.raises(ConfigurationError, match="max_cost=-1"):
        Budget(-1)
