"""What an endpoint's refusal amounts to, by texts that were seen: for one call, for all of them, or for now."""

from __future__ import annotations

import pytest

from facekit.endpoints.dialect import Dialect
from facekit.endpoints.failures import sort_failure
from facekit.endpoints.keys import KeyFilter
from facekit.endpoints.requests import (
    EndpointError,
    FlaggedRequestError,
    RejectedRequestError,
    TemporaryCallError,
)

TEMPERATURE = {
    "message": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
    "supported.",
    "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value",
}  # fmt: skip
NO_TEMPERATURE = {
    "message": "Unsupported parameter: 'temperature' is not supported with this model.",
    "type": "invalid_request_error", "param": "temperature", "code": "unsupported_parameter",
}  # fmt: skip
BLOCKED = {
    "code": "Forbidden",
    "message": "Your resource has been temporarily blocked because we detected behavior that may violate our content "
    "policy. For more details on Azure OpenAI service content policy, please visit https://aka.ms/aoaicodeofconduct",
}
FILTERED = {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
    "Please modify your prompt and retry.",
    "type": None, "param": "prompt", "code": "content_filter", "status": 400,
}  # fmt: skip
UNSAFE = {"message": "Your input image may contain content that is not allowed by our safety system."}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, TEMPERATURE, RejectedRequestError), (500, TEMPERATURE, RejectedRequestError),
        (400, NO_TEMPERATURE, RejectedRequestError), (400, FILTERED, FlaggedRequestError),
        (400, UNSAFE, FlaggedRequestError), (403, BLOCKED, EndpointError),
        (500, {"message": "oops"}, TemporaryCallError),
    ],
)  # fmt: skip
def test_a_refusal_is_of_its_kind_whatever_status_a_gateway_gives_it(status, body, kind):
    assert type(sort_failure(status, body, {}, KeyFilter())) is kind


@pytest.mark.parametrize("body", [TEMPERATURE, NO_TEMPERATURE])
def test_both_ways_to_refuse_a_temperature_teach_to_leave_it_out(body):
    error = sort_failure(400, body, {}, KeyFilter())
    assert Dialect().without(error.said) == Dialect(temperature=False)
