"""What holds for every body and every Host, whoever thought of it."""

from typing import Any
from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from hawk import Request, SamplerConfig
from hawk.serving.config import LOOPBACK, LimitConfig
from hawk.serving.errors import ApiError, of_validation
from hawk.serving.messages import Card, ImageJob
from hawk.serving.schemas import ImageRequest, image_jobs
from tests.properties import JSON, NUMBER, SEEDED, TEXT
from tests.serving.test_access import admitted

CARD = Card(
    model="tiny",
    width=12,
    height=12,
    columns=6,
    rows=6,
    drafters=("jacobi", "plain"),
    rule="coupled",
    exact=True,
    created=0,
    settings="",
)
FIELDS = st.sampled_from(sorted(ImageRequest.model_fields))
SETTINGS = ("seed", "guidance_scale", "temperature", "top_k", "top_p", "n")


def outcome(body: object) -> list[ImageJob] | ApiError:
    """The jobs of a body, or what its client is told."""
    try:
        limits = LimitConfig()  # pyright: ignore[reportCallIssue]
        return image_jobs(ImageRequest.model_validate(body), CARD, limits)
    except ValidationError as error:
        return of_validation(error.errors())
    except ApiError as error:
        return error


@SEEDED
@given(st.one_of(JSON, st.dictionaries(st.one_of(FIELDS, TEXT), JSON, max_size=6)))
def test_any_body_is_jobs_or_a_readable_refusal(body: object) -> None:
    found = outcome(body)
    if isinstance(found, ApiError):
        assert found.status_code == 400
        assert found.message
        assert found.response().body  # half a character in it could not be sent


@SEEDED
@given(st.dictionaries(st.sampled_from(SETTINGS), NUMBER, max_size=6))
@example({"seed": 2**63 - 10, "n": 10})
def test_what_is_taken_is_a_request_that_a_model_takes(settings: dict[str, Any]) -> None:
    """The bounds of the service are the library's."""
    found = outcome({"prompt": "a"} | settings)
    for job in [] if isinstance(found, ApiError) else found:
        given_here = {"temperature": job.temperature, "top_k": job.top_k, "top_p": job.top_p}
        sampler = SamplerConfig(**{n: v for n, v in given_here.items() if v is not None})
        guidance = 1 if job.guidance is None else job.guidance
        Request(prompt=job.prompt, seed=job.seed, guidance=guidance, sampler=sampler)


@SEEDED
@given(FIELDS, TEXT, st.characters(categories=["Cs"]))
def test_half_a_character_is_refused_wherever_it_is(field: str, text: str, half: str) -> None:
    for body in ({field: text + half}, {text + half: 1}):
        assert isinstance(outcome({"prompt": "a"} | body), ApiError)


@SEEDED
@given(
    st.lists(
        st.one_of(
            st.sampled_from([*LOOPBACK, "evil.com", "[::1]", ":", "@", ":80", ".", "%", "/", "#"]),
            st.characters(max_codepoint=255),
        ),
        max_size=5,
    ).map("".join)
)
def test_a_host_that_is_let_in_is_this_machine(host: str) -> None:
    if admitted(("host", host)):
        found = urlsplit(f"//{host.lower()}")
        assert found.hostname in LOOPBACK
        assert found.username is None
        assert found.netloc == host.lower()
