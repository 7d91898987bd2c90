"""What an endpoint rejects teaches how it wants to be asked, and nothing else does."""

from facekit.endpoints.dialect import Dialect

MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
)


def test_each_rejection_changes_one_thing_once():
    asked = Dialect()
    learned = asked.without(MAX_TOKENS)
    assert learned == Dialect("max_completion_tokens", was_switched=True)
    assert learned.without(MAX_TOKENS) == learned
    assert learned.without(TEMPERATURE) == Dialect("max_completion_tokens", temperature=False, was_switched=True)
    assert asked.without("response_format of type json_schema is not supported") == Dialect(structured=False)


def test_an_endpoint_that_knows_the_older_name_only_is_asked_by_it():
    asked = Dialect("max_completion_tokens")
    assert asked.without("Unrecognized request argument supplied: max_completion_tokens").token_limit == "max_tokens"


def test_other_rejections_change_nothing():
    asked = Dialect()
    for said in ("max_tokens is too large: 9000", "the picture is too large", "temperature must be at most 2"):
        assert asked.without(said) == asked


def test_what_two_calls_learned_is_put_together():
    asked = Dialect()
    both = asked.without(MAX_TOKENS).combined(asked.without(TEMPERATURE))
    assert both == Dialect("max_completion_tokens", temperature=False, was_switched=True)
    assert both.combined(asked) == both
