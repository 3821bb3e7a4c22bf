"""Errors in OpenAI's shape, whatever went wrong."""

from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from hawk.serving.messages import Reason, Refused

STATUS: dict[Reason, int] = {
    "invalid": 400,
    "failed": 422,
    "overloaded": 429,
    "deadline": 504,
    "closing": 503,
    "broken": 503,
}
CODES: dict[Reason, str] = {
    "invalid": "invalid_value",
    "failed": "image_failed",
    "overloaded": "rate_limit_exceeded",
    "deadline": "deadline_exceeded",
    "closing": "service_unavailable",
    "broken": "service_unavailable",
}
RETRY_LEAST_S, RETRY_MOST_S = 1, 60


class ApiError(HTTPException):
    """Error that a client is told: `status` of HTTP, and

    Attributes:
        message: Sentence that says what to do.
        param: Name of the field that is wrong.
        code: Code for programs.
        retry_after_s: Seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, message, _headers(status, retry_after_s))
        # What a client wrote may be quoted, and hold half a character.
        self.message, self.param = _encodable(message), param and _encodable(param)
        self.code = code

    @classmethod
    def of(cls, refused: Refused) -> "ApiError":
        """The error that a replica's refusal stands for."""
        retry_after_s = refused.retry_after_s
        if retry_after_s is None and STATUS[refused.reason] == 503:
            retry_after_s = RETRY_LEAST_S
        return cls(
            STATUS[refused.reason],
            refused.message,
            code=CODES[refused.reason],
            param=refused.param,
            retry_after_s=retry_after_s,
        )

    @property
    def body(self) -> dict[str, Any]:
        error = {
            "message": self.message,
            "type": _type(self.status_code),
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status_code, self.headers)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _headers(status: int, retry_after_s: float | None) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    if retry_after_s is None:
        return {}
    seconds = min(max(round(retry_after_s), RETRY_LEAST_S), RETRY_MOST_S)
    return {"Retry-After": str(seconds)}


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def invalid(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """400 about one field."""
    return ApiError(400, message, code=code, param=param)


def of_validation(errors: Sequence[Any]) -> ApiError:
    """The first of pydantic's complaints about a body, as OpenAI would word it."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(place) or None
    if first["type"] == "json_invalid":
        return invalid(None, "the body is not JSON", "invalid_json")
    if first["type"] == "extra_forbidden":
        return invalid(param, f"Unknown parameter: '{param}'.", "unknown_parameter")
    if first["type"] == "missing" and param:
        return invalid(
            param, f"Missing required parameter: '{param}'.", "missing_required_parameter"
        )
    if param is None and first["type"] == "string_unicode":
        return invalid(None, "a parameter's name is not Unicode: it has lone surrogates")
    if param is None:
        return invalid(None, "the body must be a JSON object; set Content-Type: application/json")
    return invalid(param, f"Invalid value for '{param}': {first['msg']}.")
