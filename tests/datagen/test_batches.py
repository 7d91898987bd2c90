import asyncio
import json

import pytest

from facekit.data.ledger import Entry, Ledger
from facekit.datagen import GenerationSettings, generate
from facekit.datagen.calls import ANNOTATE
from facekit.datagen.recipe import load_recipe
from facekit.endpoints.outcomes import Ending


def settings(**values):
    return GenerationSettings(**{"batch": True, "poll_seconds": 0.01, "backoff": 0.01, **values})


def run(server, faces, output, recipe_path, **values):
    return generate(
        faces, output, recipe_path, annotator=f"openai:gpt-4o?base_url={server.base_url}", settings=settings(**values)
    )


def test_batches_are_submitted_polled_and_collected_at_half_the_price(serve, faces, recipe_path, tmp_path):
    server = serve()
    result = run(server, faces, tmp_path / "out", recipe_path, batch_requests=8)
    assert result.ending is Ending.FINISHED
    assert (result.written.kept, result.written.failed) == (20, 0)
    assert [len(file.splitlines()) for name, file in server.files.items() if "output" not in name] == [8, 8, 4]
    assert result.cost == pytest.approx(20 * (1000 * 2.5 + 100 * 10) / 1e6 / 2)
    assert {call.path for call in server.calls} == {"batch"}
    assert result.written.pending == 0


def test_a_run_that_is_killed_while_a_batch_is_worked_on_collects_it_and_asks_nothing_twice(
    serve, faces, recipe_path, tmp_path, monkeypatch
):
    from facekit.datagen.batches import BatchRunner

    class KilledError(Exception):
        pass

    async def killed(*_):
        raise KilledError

    server = serve()
    with monkeypatch.context() as patch:
        patch.setattr(BatchRunner, "_collect_all", _after_first(BatchRunner._collect_all, killed))
        with pytest.raises(KilledError):
            run(server, faces, tmp_path / "out", recipe_path)
    assert len(server.batches) == 1
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert result.written.kept == 20
    assert len(server.batches) == 1


def _after_first(original, replacement):
    calls = iter((original,))

    async def method(self):
        await next(calls, replacement)(self)

    return method


def test_a_batch_whose_name_was_not_noted_is_found_by_its_token(serve, faces, recipe_path, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    def killed(*_):
        raise KilledError

    server = serve()
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "name_batch", killed)
        with pytest.raises(KilledError):
            run(server, faces, tmp_path / "out", recipe_path)
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert (len(server.batches), result.written.kept) == (1, 20)


def test_calls_of_a_batch_that_was_never_created_are_asked_again(serve, faces, recipe_path, tmp_path):
    recipe = load_recipe(recipe_path)
    lost = Entry(ANNOTATE, "face-0", "look", recipe.prompt_version("look"), "submitted")
    with Ledger(tmp_path / "out") as ledger:
        ledger.begin_batch("token", [lost])
    result = run(serve(), faces, tmp_path / "out", recipe_path)
    assert result.written.kept == 20


def test_a_budget_bounds_what_is_submitted(serve, faces, recipe_path, tmp_path):
    server = serve()
    result = run(server, faces, tmp_path / "out", recipe_path, max_cost=0.005)
    assert result.ending is Ending.BUDGET
    submitted = sum(len(file.splitlines()) for name, file in server.files.items() if "output" not in name)
    assert 0 < submitted < 20
    assert result.written.pending == 20 - submitted


def test_lines_that_failed_are_asked_again_in_another_batch(serve, faces, recipe_path, tmp_path):
    server = serve()
    original, broken = server._poll_batch, []

    def poll(name):
        response = original(name)
        batch = server.batches[name]
        if batch["status"] == "completed" and not broken:
            lines = server.files[batch["output_file_id"]].splitlines()
            line = json.loads(lines[0])
            line["response"] = {"status_code": 500, "body": {"error": {"message": "oops"}}}
            broken.append(line["custom_id"])
            server.files[batch["output_file_id"]] = b"\n".join([json.dumps(line).encode(), *lines[2:]])
        return response

    server._poll_batch = poll
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert result.written.kept == 20
    assert [len(file.splitlines()) for name, file in server.files.items() if "output" not in name] == [20, 2]


def test_stopping_leaves_the_batch_to_the_next_run(serve, faces, recipe_path, tmp_path):
    from facekit.datagen.batches import BatchRunner
    from facekit.datagen.plan import plan_annotations
    from facekit.datagen.quality.answers import review_answer
    from facekit.endpoints.budget import Budget
    from facekit.endpoints.client import EndpointClient
    from facekit.endpoints.prices import Price

    server = serve()
    server.batch_polls = 10**6
    recipe = load_recipe(recipe_path)

    async def stop_soon():
        stop = asyncio.Event()
        annotator = EndpointClient("m", base_url=server.base_url)
        with Ledger(tmp_path / "out") as ledger:
            runner = BatchRunner(annotator, ledger, Price(input=0, output=0), Budget(), settings(), stop)
            asyncio.get_running_loop().call_later(0.3, stop.set)
            ending = await runner.run(
                ANNOTATE, lambda: plan_annotations(faces, recipe, ledger), lambda _, reply: review_answer(reply),
                total=20, done=0,
            )  # fmt: skip
        await annotator.close()
        return ending

    assert asyncio.run(stop_soon()) is Ending.STOPPED
    server.batch_polls = 0
    assert run(server, faces, tmp_path / "out", recipe_path).written.kept == 20
    assert len(server.batches) == 1
