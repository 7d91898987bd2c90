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
NO_CREDIT = (
    (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API. "
           "Please go to Plans & Billing to upgrade or purchase credits."}),
    (400, {"message": "Access denied, please make sure your account is in good standing.", "type": "Arrearage",
           "param": None, "code": "Arrearage"}),
    (400, {"message": "Billing hard limit has been reached", "type": "billing_limit_user_error", "param": None,
           "code": "billing_hard_limit_reached"}),
    (403, {"code": "permission-denied", "message": "Your team has either used all available credits or reached its "
           "monthly spending limit."}),
    (429, {"message": "Your account is not active, please check your billing details on our website.",
           "type": "billing_not_active", "param": None, "code": "billing_not_active"}),
    (429, {"message": "You exceeded your current quota, please check your plan and billing details.",
           "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}),
)  # fmt: skip
WRONG_KEY = {
    "code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT",
    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
}  # fmt: skip
QUOTA = {
    "code": 429, "message": "You exceeded your current quota, please check your plan and billing details.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"},
    ],
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


@pytest.mark.parametrize(("status", "body"), NO_CREDIT)
def test_an_account_without_credit_is_no_fault_of_one_call(status, body):
    error = sort_failure(status, body, {}, KeyFilter())
    assert type(error) is EndpointError
    assert str(error).startswith("the account has no credit left (status")


@pytest.mark.parametrize("body", [WRONG_KEY, {"error": WRONG_KEY}, [{"error": WRONG_KEY}]])
def test_a_wrong_key_of_google_is_told_as_one_in_a_list_or_out_of_it(body):
    error = sort_failure(400, body, {}, KeyFilter())
    assert type(error) is EndpointError
    assert "the key is not accepted; check the key, base_url and model (status 400: API key not valid" in str(error)


@pytest.mark.parametrize(("body", "seconds"), [
    (QUOTA, 37.0), ([{"error": QUOTA}], 37.0),
    ({"message": "Rate limit reached for gpt-4o on tokens per min. Please try again in 6m0s."}, 360.0),
    ({"message": "Rate limit reached. Please try again in 1h2m3.5s. Visit the documentation."}, 3723.5),
    ({"message": "Limit 7000, Used 0. Please try again in 50.597142857s."}, 50.597142857),
    ({"message": "Please try again in 240ms."}, 0.24),
    ({"message": "have exceeded call rate limit of your current tier. Please retry after 26 seconds."}, 26.0),
    ("Please retry in 34.5s.", 34.5),
    ({"message": "Please try again in a while."}, None), ({"message": "Please try again in "}, None),
    ({"details": [{"retryDelay": "soon"}, None]}, None), ({"details": None}, None), ([], None), (None, None),
])  # fmt: skip
def test_a_wait_that_stands_in_the_error_is_kept_where_no_header_says_one(body, seconds):
    error = sort_failure(429, body, {}, KeyFilter())
    assert type(error) is TemporaryCallError
    assert error.retry_after == seconds
    assert sort_failure(429, body, {"retry-after": "2"}, KeyFilter()).retry_after == 2.0


@pytest.mark.parametrize("body", [TEMPERATURE, NO_TEMPERATURE])
def test_both_ways_to_refuse_a_temperature_teach_to_leave_it_out(body):
    error = sort_failure(400, body, {}, KeyFilter())
    assert Dialect().without(error.said) == Dialect(temperature=False)
