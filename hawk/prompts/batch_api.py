"""Lines of OpenAI's Batch API, as far as they ask for images.

`url` and `method` decide: a line for another endpoint is an error row, and keeps its `custom_id`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hawk.prompts.tables import TableRow

ENDPOINT = "/v1/images/generations"
FIELDS = {  # of the body, by their names in batch jobs
    "prompt": "prompt",
    "n": "n",
    "size": "size",
    "output_format": "output_format",
    "output_compression": "output_compression",
    "seed": "seed",
    "negative_prompt": "negative_prompt",
    "guidance": "guidance",
    "guidance_scale": "guidance",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
}
CHOICES = {  # of what can be asked for, all that a batch job does
    "output_format": ("png", "jpeg", "webp"),
    "quality": ("auto", "standard"),  # a model has one
    "background": ("auto", "opaque"),
}


def is_request(row: Mapping[str, Any]) -> bool:
    """Whether a JSON line is a request of the Batch API."""
    of_api = isinstance(row.get("body"), dict) and ("url" in row or "method" in row)
    return of_api or {"custom_id", "body"} <= row.keys()


def read(line: int, row: Mapping[str, Any]) -> TableRow:
    """The request as a row; what its body has besides are its columns."""
    given = row["body"] if isinstance(row["body"], dict) else {}
    body = {str(name): value for name, value in given.items() if value is not None}
    asked = {FIELDS[name]: value for name, value in body.items() if name in FIELDS}
    if asked.get("size") == "auto":
        del asked["size"]
    others = {n: value for n, value in body.items() if n not in FIELDS and n not in CHOICES}
    faults = [*_misdirected(row), *_impossible(body)]
    return TableRow(
        line=line,
        values=others,
        asked={"prompt": None, **asked, "id": row.get("custom_id")},
        error="; ".join(faults) or None,
    )


def _misdirected(row: Mapping[str, Any]) -> Iterator[str]:
    if row.get("url", ENDPOINT) != ENDPOINT:
        yield f"url is {row['url']!r:.60}, and only {ENDPOINT} makes images"
    if row.get("method", "POST") != "POST":
        yield f"method is {row['method']!r:.20}, and has to be POST"
    if not isinstance(row["body"], dict):
        yield f"body must be an object, got {row['body']!r:.60}"


def _impossible(body: Mapping[str, Any]) -> Iterator[str]:
    """What the body asks for and no batch job does."""
    for name, choices in CHOICES.items():
        if name in body and body[name] not in choices:
            yield f"{name} must be one of {', '.join(choices)}, got {body[name]!r:.40}"
    compression = body.get("output_compression", 100)
    if compression not in range(101):
        yield f"output_compression must be a whole number to 100, got {compression!r:.40}"
