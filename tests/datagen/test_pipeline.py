import asyncio
import sqlite3

import pytest

from facekit.data.ledger import Ledger, LedgerStore
from facekit.datagen.calls import ANNOTATE
from facekit.datagen.plan import plan_annotations
from facekit.datagen.recipe import load_recipe
from facekit.endpoints.budget import Budget
from facekit.endpoints.client import EndpointClient
from facekit.endpoints.outcomes import ACCEPTED, FAILED, GAVE_UP, REJECTED, Ending
from facekit.endpoints.pipeline import Pipeline
from facekit.endpoints.pool import ClientPool
from facekit.endpoints.prices import Price
from facekit.endpoints.requests import EndpointError
from facekit.endpoints.retry import RetryPolicy

PRICE = Price(input=1.0, output=10.0)


def carry_out(
    server, faces, recipe_path, folder, *, price=PRICE, limit=None, processes=0, stop_after=None, **options
):  # fmt: skip
    """Run the pipeline once; returns how it ended, the number of calls by state, and progress reports."""
    recipe, reports = load_recipe(recipe_path), []

    async def run():
        endpoint = EndpointClient("m", base_url=server.base_url)
        worker = ClientPool(endpoint, processes) if processes else endpoint
        with Ledger(folder) as ledger:
            pipeline = Pipeline(
                worker, LedgerStore(ledger), price, Budget(limit, ledger.spent()),
                **{"policy": RetryPolicy(4, 0.01), "concurrency": 4, "on_progress": reports.append, **options},
            )  # fmt: skip
            if stop_after is not None:
                asyncio.get_running_loop().call_later(stop_after, pipeline.stop.set)
            try:
                ending = await pipeline.run(ANNOTATE, plan_annotations(faces, recipe, ledger), total=20)
            finally:
                await worker.close()
                await endpoint.close()
                states = {}
                for (_, state), count in ledger.counts(ANNOTATE, recipe.prompt_versions()).items():
                    states[state] = states.get(state, 0) + count
        return ending, states, pipeline.budget.spent

    ending, states, spent = asyncio.run(run())
    return ending, states, reports, spent


def test_every_call_is_made_once_and_never_more_than_allowed_at_a_time(serve, faces, recipe_path, tmp_path):
    server = serve(latency=(0.01, 0.02))
    ending, states, reports, spent = carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=3)
    assert (ending, states) == (Ending.FINISHED, {ACCEPTED: 20})
    assert len({call.key for call in server.calls}) == len(server.calls) == 20
    assert server.most_in_flight == 3
    assert (reports[-1].done, reports[-1].answered, reports[-1].seconds_left) == (20, 20, 0.0)
    assert spent == pytest.approx(20 * (1000 + 100 * 10) / 1e6)


def test_answers_that_arrive_together_share_a_transaction_and_none_waits_for_more(
    serve, faces, recipe_path, tmp_path, monkeypatch
):
    stores = []

    def store(ledger, *entries):
        stores.append(len(entries))
        real_store(ledger, *entries)

    real_store = Ledger.store
    monkeypatch.setattr(Ledger, "store", store)
    _, states, _, _ = carry_out(serve(), faces, recipe_path, tmp_path / "one", concurrency=1)
    assert (states, stores) == ({ACCEPTED: 20}, [1] * 20)
    stores.clear()
    lines = [line.replace('"images/', '"gone/') for line in faces.read_text().splitlines(keepends=True)]
    faces.write_text("".join(lines))
    _, states, _, _ = carry_out(serve(), faces, recipe_path, tmp_path / "many", concurrency=20)
    assert (states, sum(stores)) == ({FAILED: 20}, 20)
    assert len(stores) < 20


def test_a_ledger_that_cannot_be_written_ends_the_run(serve, faces, recipe_path, tmp_path, monkeypatch):
    def fail(ledger, *entries):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Ledger, "store", fail)
    server = serve()
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=4)
    assert len(server.calls) <= 8


def test_a_second_run_asks_nothing(serve, faces, recipe_path, tmp_path):
    server = serve()
    carry_out(server, faces, recipe_path, tmp_path / "out")
    carry_out(server, faces, recipe_path, tmp_path / "out")
    assert len(server.calls) == 20


def test_a_refusal_is_asked_again_once_and_then_kept_as_unusable(serve, faces, recipe_path, tmp_path):
    server = serve(refusal=1.0)
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out", second_tries=1)
    assert states == {REJECTED: 20}
    assert len(server.calls) == 40


def test_a_failure_that_passes_is_given_up_after_its_attempts_and_tried_again_in_the_next_run(
    serve, faces, recipe_path, tmp_path
):
    server = serve(server_error=1.0)
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=16)
    assert (states, len(server.calls)) == ({GAVE_UP: 20}, 80)
    server.faults.server_error = 0.0
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out")
    assert (states, len(server.calls)) == ({ACCEPTED: 20}, 100)


def test_an_endpoint_that_answers_nothing_ends_the_run(serve, faces, recipe_path, tmp_path):
    with pytest.raises(EndpointError, match="20 calls in a row failed, the last with: status 400"):
        carry_out(serve(status=400), faces, recipe_path, tmp_path / "out")


@pytest.mark.parametrize("before", [0, 4])
def test_an_endpoint_that_begins_to_reject_everything_condemns_no_record(
    serve, make_faces, recipe_path, tmp_path, before
):
    faces, server = make_faces(20), serve()
    outcome = server._outcome

    def rejecting(body):
        server.faults.status = 400 if len(server.calls) >= before else None
        return outcome(body)

    server._outcome = rejecting
    with pytest.raises(EndpointError, match="20 calls in a row failed"):
        carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=1)
    server._outcome, server.faults.status = outcome, None
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out")
    assert states == {ACCEPTED: 40}


def test_a_wrong_key_ends_the_run_at_once_and_condemns_no_record(serve, faces, recipe_path, tmp_path):
    server = serve(status=401)
    with pytest.raises(EndpointError, match="the key is not accepted"):
        carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=1)
    assert len(server.calls) == 1
    server.faults.status = None
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out")
    assert states == {ACCEPTED: 20}


def test_the_pause_that_an_endpoint_asks_for_holds_every_call_back(serve, faces, recipe_path, tmp_path):
    server = serve(retry_after="0.5", latency=(0.001, 0.04))
    outcome = server._outcome

    def first_too_many(body):
        server.faults.too_many = float(not server.calls)
        return outcome(body)

    server._outcome = first_too_many
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=4)
    assert states == {ACCEPTED: 20}
    (asked,) = [call for call in server.calls if call.outcome == "429"]
    since = [call.time - asked.time for call in server.calls]
    in_flight = [seconds for seconds in since if seconds < 0.45]
    assert len(in_flight) <= 1 + 3  # those that were asked before the pause
    assert min(seconds for seconds in since if seconds not in in_flight) >= 0.49


@pytest.mark.parametrize("oddity", ["cut-off JSON", "a null answer", "an error at its end", "a null message"])
def test_what_is_charged_for_replies_that_cannot_be_used_is_in_the_cost(serve, faces, recipe_path, tmp_path, oddity):
    server = serve(odd=0.4, oddity=oddity, seed=4)
    _, states, _, spent = carry_out(server, faces, recipe_path, tmp_path / "out", policy=RetryPolicy(9, 0.001))
    assert states == {ACCEPTED: 20}
    assert sum(call.outcome == "odd" for call in server.calls) > 5
    assert spent == pytest.approx(len(server.calls) * (1000 + 100 * 10) / 1e6)
    with Ledger(tmp_path / "out") as ledger:
        assert ledger.spent() == pytest.approx(spent)
        rows = ledger.entries(ANNOTATE, load_recipe(recipe_path).prompt_versions(), [f"face-{n}" for n in range(10)])
    assert sum(row.prompt_tokens for row in rows) == 1000 * len(server.calls)


def test_replies_that_cannot_be_used_cost_the_same_in_several_processes(serve, faces, recipe_path, tmp_path):
    server = serve(odd=0.4, oddity="a wrong key", seed=4)
    _, states, _, spent = carry_out(
        server, faces, recipe_path, tmp_path / "out", policy=RetryPolicy(9, 0.001), processes=2
    )
    assert states == {ACCEPTED: 20}
    assert len(server.calls) > 20
    assert spent == pytest.approx(len(server.calls) * (1000 + 100 * 10) / 1e6)


def test_a_broken_body_costs_what_it_may_have_cost_at_most(serve, faces, recipe_path, tmp_path):
    server = serve(malformed=0.4, seed=4)
    price = Price(input=0.0, output=10.0)  # at most 100 tokens
    _, states, _, spent = carry_out(
        server, faces, recipe_path, tmp_path / "out", price=price, policy=RetryPolicy(9, 0.001)
    )
    assert states == {ACCEPTED: 20}
    assert spent == pytest.approx(len(server.calls) * 0.001)


def test_replies_that_are_never_readable_are_not_asked_for_again(serve, faces, recipe_path, tmp_path):
    server = serve(odd=1.0, oddity="a wrong key")
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=16)
    assert (states, len(server.calls)) == ({REJECTED: 20}, 80)
    carry_out(server, faces, recipe_path, tmp_path / "out")
    assert len(server.calls) == 80


def test_a_key_that_may_not_ends_the_run_after_a_few_calls_and_condemns_no_record(serve, faces, recipe_path, tmp_path):
    server = serve(status=403)
    with pytest.raises(EndpointError, match=r"the key may not do this; check the key.*status 403"):
        carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=1)
    assert len(server.calls) == 5
    server.faults.status = None
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out")
    assert states == {ACCEPTED: 20}


def test_an_input_that_is_denied_is_one_rejected_call_and_is_not_asked_again(serve, faces, recipe_path, tmp_path):
    server = serve()
    outcome = server._outcome

    def denying(body):
        server.faults.status = 403 if len(server.calls) < 2 else None
        return outcome(body)

    server._outcome = denying
    ending, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=1)
    assert (ending, states) == (Ending.FINISHED, {ACCEPTED: 18, FAILED: 2})
    carry_out(server, faces, recipe_path, tmp_path / "out")
    assert len(server.calls) == 20


def test_denials_alone_are_a_key_that_may_not_however_few_they_are(serve, faces, recipe_path, tmp_path):
    faces.write_text("".join(faces.read_text().splitlines(keepends=True)[:1]))
    server = serve(status=403)
    with pytest.raises(EndpointError, match="the key may not"):
        carry_out(server, faces, recipe_path, tmp_path / "out")
    server.faults.status = None
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out")
    assert states == {ACCEPTED: 2}


def test_the_budget_stops_the_run_cleanly_and_more_money_goes_on(serve, faces, recipe_path, tmp_path):
    server = serve()
    price = Price(input=0.0, output=10.0)  # each call: at most and exactly 100 tokens, 0.001 dollars
    ending, states, _, spent = carry_out(server, faces, recipe_path, tmp_path / "out", price=price, limit=0.0075)
    assert (ending, states, len(server.calls)) == (Ending.BUDGET, {ACCEPTED: 7}, 7)
    assert spent == pytest.approx(0.007)
    ending, states, _, spent = carry_out(server, faces, recipe_path, tmp_path / "out", price=price, limit=1.0)
    assert (ending, states, len(server.calls)) == (Ending.FINISHED, {ACCEPTED: 20}, 20)
    assert spent == pytest.approx(0.02)


def test_a_stop_waits_for_the_calls_in_flight_and_loses_none(serve, faces, recipe_path, tmp_path):
    server = serve(latency=(0.2, 0.2))
    ending, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=2, stop_after=0.5)
    assert ending is Ending.STOPPED
    assert states[ACCEPTED] == len(server.calls) < 20
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=20)
    assert (states, len(server.calls)) == ({ACCEPTED: 20}, 20)


def test_the_limit_of_requests_spreads_calls_over_time(serve, faces, recipe_path, tmp_path):
    server = serve()
    carry_out(server, faces, recipe_path, tmp_path / "out", concurrency=20, requests_per_minute=600)
    times = sorted(call.time for call in server.calls)
    assert len(times) == 20
    assert times[-1] - times[0] >= (20 - 10) / (590 / 60) - 0.2  # ten at once, then 590 a minute


def test_a_broken_picture_costs_its_own_calls_only(serve, faces, recipe_path, tmp_path):
    (faces.parent / "images" / "3.png").write_bytes(b"broken")
    (faces.parent / "images" / "4.png").unlink()
    _, states, _, _ = carry_out(serve(), faces, recipe_path, tmp_path / "out")
    assert states == {ACCEPTED: 16, FAILED: 4}


def test_several_processes_do_the_same_work(serve, faces, recipe_path, tmp_path):
    (faces.parent / "images" / "3.png").write_bytes(b"broken")
    server = serve(too_many=0.1, server_error=0.1, latency=(0.01, 0.03))
    _, states, _, _ = carry_out(server, faces, recipe_path, tmp_path / "out", processes=2, policy=RetryPolicy(9, 0.01))
    assert states == {ACCEPTED: 18, FAILED: 2}
    assert sum(call.outcome == "answered" for call in server.calls) == 18
