"""What a client is told when something is wrong: the error object of OpenAI's API."""

from __future__ import annotations

from typing import Any


class RequestError(Exception):
    """A request that is not answered, or not to its end. ``message`` is one sentence for whoever sent it.

    ``param`` names the field that is wrong; ``code`` is what programs look at, OpenAI's word where there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers or {}

    @property
    def kind(self) -> str:
        """The ``type`` of the error object."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        return "server_error" if self.status >= 500 else kinds.get(self.status, "invalid_request_error")

    def body(self) -> dict[str, Any]:
        """The error object."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}
