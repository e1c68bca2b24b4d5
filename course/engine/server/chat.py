"""From the messages of a chat to a prompt."""

from __future__ import annotations

from typing import Any

from course.engine.server.errors import RequestError
from course.engine.server.fields import check_text, kind_of
from course.model.loading import Model

ROLES = ("system", "developer", "user", "assistant", "tool")


def read_messages(values: dict[str, Any]) -> list[dict[str, str]]:
    """The messages, each with a role and a text. Raises RequestError for anything else."""
    messages = values.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError(f"messages must be a list of messages, got {kind_of(messages)}", param="messages")
    return [_read_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _read_message(message: Any, name: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise RequestError(f"{name} must be an object with role and content, got {kind_of(message)}", param=name)
    role = message.get("role")
    if role not in ROLES:
        raise RequestError(f"{name}.role must be one of {', '.join(ROLES)}", param=f"{name}.role")
    return {"role": role, "content": _read_content(message.get("content"), f"{name}.content")}


def _read_content(content: Any, name: str) -> str:
    if isinstance(content, str):
        return check_text(content, name)
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        texts = [text for part in parts if isinstance(text := part.get("text"), str)]
        if len(texts) == len(content):
            return check_text("".join(texts), name)
    raise RequestError(f"{name} must be a text or a list of text parts; images and sound are not offered", param=name)


def chat_prompt(model: Model, messages: list[dict[str, str]]) -> str:
    """The prompt that asks for the next message: the model's own template, or `plain_chat` where it has none.

    Raises RequestError with the template's own words where it refuses the messages.
    """
    if not getattr(model.tokenizer, "chat_template", None):
        return plain_chat(messages)
    try:
        return str(model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of the model's, and may raise what it likes
        raise RequestError(f"the model's chat template refuses these messages: {error}", param="messages") from error


def plain_chat(messages: list[dict[str, str]]) -> str:
    """Each message on its line behind its role, and the next one begun."""
    lines = [f"{message['role']}: {message['content']}\n" for message in messages]
    return "".join([*lines, "assistant:"])
