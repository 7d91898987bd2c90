import asyncio
import json

import pytest

from facekit.data.ledger import Entry, Ledger
from facekit.datagen import GenerationSettings, generate
from facekit.datagen.calls import ANNOTATE
from facekit.datagen.recipe import load_recipe
from facekit.endpoints.outcomes import Ending
from facekit.endpoints.requests import EndpointError


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


def run_until_named(server, faces, folder, recipe_path, monkeypatch):
    """A run that is killed when its batch is sent and the batch's name is not noted yet."""

    class KilledError(Exception):
        pass

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "name_batch", killed)
        with pytest.raises(KilledError):
            run(server, faces, folder, recipe_path)


def test_a_batch_whose_name_was_not_noted_is_found_by_its_token(serve, faces, recipe_path, tmp_path, monkeypatch):
    server = serve()
    run_until_named(server, faces, tmp_path / "out", recipe_path, monkeypatch)
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert (len(server.batches), result.written.kept) == (1, 20)


def test_an_answer_whose_label_changed_while_it_was_in_a_batch_is_asked_for_anew(
    serve, faces, recipe_path, tmp_path, monkeypatch
):
    server = serve()
    run_until_named(server, faces, tmp_path / "out", recipe_path, monkeypatch)
    faces.write_text(faces.read_text().replace("happiness", "sadness", 1))
    result = run(server, faces, tmp_path / "out", recipe_path)
    sent = [file.splitlines() for name, file in server.files.items() if "output" not in name]
    assert [len(each) for each in sent] == [20, 1]
    assert b"The expression is sadness" in sent[1][0]
    assert result.ending is Ending.FINISHED


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


def test_a_line_that_was_cut_off_costs_its_own_call_alone(serve, faces, recipe_path, tmp_path, caplog):
    server = serve()
    original, cut = server._poll_batch, []

    def poll(name):
        response = original(name)
        batch = server.batches[name]
        if batch["status"] == "completed" and not cut:
            first, *rest = server.files[batch["output_file_id"]].splitlines()
            cut.append(first)
            server.files[batch["output_file_id"]] = b"\n".join([first[:40], *rest])
        return response

    server._poll_batch = poll
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert result.written.kept == 20
    assert [len(file.splitlines()) for name, file in server.files.items() if "output" not in name] == [20, 1]
    assert "is no result and is passed over; its call is made again" in caplog.text


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


def lines_of(server):
    """Number of lines of every batch file that was submitted."""
    return [file.count(b"\n") for name, file in server.files.items() if "output" not in name]


def test_a_batch_that_the_queue_refuses_is_sent_later_in_smaller_ones(serve, faces, recipe_path, tmp_path):
    server = serve()
    server.queue_limit = 6
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert (result.ending, result.written.kept, result.written.failed) == (Ending.FINISHED, 20, 0)
    assert lines_of(server) == [20, 10, 5, 5, 5, 5]
    assert len(server.calls) == 20


def test_a_queue_that_stays_full_leaves_the_calls_to_the_next_run(serve, faces, recipe_path, tmp_path):
    server = serve()
    server.queue_limit = 0
    result = run(server, faces, tmp_path / "out", recipe_path, attempts=3, poll_seconds=0.001)
    assert (result.written.kept, result.written.failed) == (0, 20)
    server.queue_limit = None
    assert run(server, faces, tmp_path / "out", recipe_path).written.kept == 20


def test_separators_of_lines_inside_an_answer_are_no_ends_of_lines(serve, faces, recipe_path, tmp_path):
    answer = "The brows\u2028are level,\u2029the\x85eyes open\x0band round."
    server = serve(answer=lambda body: f"{answer} {hash(str(body))}.")
    result = run(server, faces, tmp_path / "out", recipe_path, batch_requests=7)
    assert (result.written.kept, result.written.records) == (20, 10)
    lines = [line for line in (tmp_path / "out" / "answers.jsonl").read_text().split("\n") if line]
    assert all(json.loads(line)["answer"].startswith(answer) for line in lines)


def test_what_a_batch_charges_for_replies_that_cannot_be_used_is_in_the_cost(serve, faces, recipe_path, tmp_path):
    server, seen = serve(), set()

    def first_broken(body):
        text = body["choices"][0]["message"]["content"]
        if text not in seen and len(seen) < 6:
            seen.add(text)
            body["choices"][0]["message"]["content"] = text[:20]
        return {"status_code": 200, "body": body}

    server.batch_response = first_broken
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert result.written.kept == 20
    assert result.cost == pytest.approx(26 * (1000 * 2.5 + 100 * 10) / 1e6 / 2)


def test_a_batch_of_a_model_that_thinks_is_sent_again_in_its_way(serve, faces, recipe_path, tmp_path):
    server, bodies = serve(), []
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )

    def rejecting(body):
        bodies.append(body)
        if len(bodies) <= 20:
            return {"status_code": 400, "body": {"error": {"message": message, "param": "max_tokens"}}}
        return {"status_code": 200, "body": body}

    server.batch_response = rejecting
    assert run(server, faces, tmp_path / "out", recipe_path).written.kept == 20
    names = [
        set(json.loads(file.split(b"\n")[0])["body"]) for name, file in server.files.items() if "output" not in name
    ]
    assert ["max_tokens" in each for each in names] == [True, False]


def test_a_picture_that_a_batch_flags_fails_alone_and_is_not_sent_again(serve, faces, recipe_path, tmp_path):
    server, seen = serve(), []

    def flagging(body):
        seen.append(body)
        if len(seen) == 3:
            return {"status_code": 400, "body": {"error": {"message": "filtered", "code": "content_filter"}}}
        return {"status_code": 200, "body": body}

    server.batch_response = flagging
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert (result.written.kept, result.written.failed) == (19, 1)
    assert result.written.reasons == {"a content filter refuses the input": 1}
    run(server, faces, tmp_path / "out", recipe_path)
    assert len(seen) == 20


def test_an_open_batch_is_told_by_its_name(serve, faces, recipe_path, tmp_path, monkeypatch, capsys):
    from facekit.cli import main as cli

    server = serve()
    server.batch_polls = 10**6
    recipe = load_recipe(recipe_path)
    with Ledger(tmp_path / "out") as ledger:
        entries = [
            Entry(ANNOTATE, f"face-{n}", aspect, recipe.prompt_version(aspect), "submitted")
            for n in range(10) for aspect in ("look", "mood")
        ]  # fmt: skip
        ledger.name_batch(ledger.begin_batch("token", entries), "batch-77")
    arguments = ["facekit", "datagen", faces, "--output", tmp_path / "out", "--recipe", recipe_path, "--annotator",
                 f"openai:m?base_url={server.base_url}"]  # fmt: skip
    monkeypatch.setattr("sys.argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out
    assert "batch batch-77 has 20 calls; collect with --batch" in out
    assert "20 still open" in out
    assert server.calls == []


def test_a_batch_that_was_created_though_no_answer_came_is_not_created_again(serve, faces, recipe_path, tmp_path):
    server = serve()
    respond, dropped = server._respond, []

    async def drop_first(method, path, headers, body):
        response = await respond(method, path, headers, body)
        if (method, path) == ("POST", "/v1/batches") and not dropped:
            dropped.append(path)
            return None
        return response

    server._respond = drop_first
    result = run(server, faces, tmp_path / "out", recipe_path)
    assert dropped
    assert (result.written.kept, len(server.batches), len(server.calls)) == (20, 1, 20)


def test_a_batch_that_is_refused_as_a_whole_condemns_no_record(serve, faces, recipe_path, tmp_path):
    server = serve()
    poll = server._poll_batch

    def refuse(name):
        problem = {"code": "billing_hard_limit_reached", "message": "Billing hard limit reached.", "line": None}
        server.batches[name] |= {"status": "failed", "errors": {"object": "list", "data": [problem]}}
        return poll(name)

    server._poll_batch = refuse
    with pytest.raises(EndpointError, match=r"the batch was rejected: .*Billing hard limit reached.*; see to it"):
        run(server, faces, tmp_path / "out", recipe_path)
    server._poll_batch = poll
    assert run(server, faces, tmp_path / "out", recipe_path).written.kept == 20


def test_answers_whose_file_the_endpoint_has_no_longer_are_asked_for_again(serve, faces, recipe_path, tmp_path, caplog):
    server = serve()
    poll, gone = server._poll_batch, []

    def expire(name):
        response = poll(name)
        if server.batches[name]["status"] == "completed" and not gone:
            gone.append(server.files.pop(server.batches[name]["output_file_id"]))
        return response

    server._poll_batch = expire
    assert run(server, faces, tmp_path / "out", recipe_path).written.kept == 20
    assert len(server.batches) == 2
    assert "no longer; the calls that it answered are made again" in caplog.text


def test_a_batch_that_the_endpoint_does_not_know_is_told_and_given_up_only_where_that_is_asked_for(
    serve, faces, recipe_path, tmp_path, monkeypatch
):
    run_until_named(serve(), faces, tmp_path / "out", recipe_path, monkeypatch)
    with Ledger(tmp_path / "out") as ledger:
        ledger.name_batch(1, "batch-elsewhere")
    other = serve()
    with pytest.raises(EndpointError, match=r"no batch batch-elsewhere, which has 20 calls; use the key and base_url"):
        run(other, faces, tmp_path / "out", recipe_path)
    result = run(other, faces, tmp_path / "out", recipe_path, retry_failed=True)
    assert (result.written.kept, len(other.batches)) == (20, 1)
