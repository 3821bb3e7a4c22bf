"""The HTTP side as clients see it, over a replica in this process."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image, ImageChops

from hawk import Pipeline
from hawk.images.encoding import read_origin
from hawk.images.gallery import tokens_sha256
from hawk.targets.janus import Janus
from jobs.emoji.text import PAD
from tests.serving.conftest import Listen, sdk
from tests.tiny import GRID

PROMPT = "a red apple"
PIXELS = 2 * GRID
KEY, OTHER_KEY = "k" * 32, "o" * 32


def post(url: str, body: object, **options: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/images/generations", json=body, timeout=120, **options)


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a response, which has to have OpenAI's shape."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def picture(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def events(url: str, **body: Any) -> list[dict[str, Any]]:
    """Server-sent events of a request; the name of each has to be its type."""
    found = []
    response = post(url, {"prompt": PROMPT, "stream": True} | body)
    assert response.headers["content-type"].startswith("text/event-stream")
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_the_openai_client_gets_its_image(url: str) -> None:
    answer = sdk(url).images.generate(prompt=PROMPT, model="tiny", size="12x12")
    assert answer.data is not None
    assert answer.usage is not None
    [image] = answer.data
    assert image.b64_json is not None
    assert picture(image.b64_json).size == (PIXELS, PIXELS)
    assert picture(image.b64_json).format == "PNG"
    assert (answer.size, answer.output_format) == ("12x12", "png")
    assert answer.usage.output_tokens == GRID**2
    assert answer.usage.total_tokens == answer.usage.input_tokens + GRID**2


def test_what_openais_clients_send_besides_is_taken(url: str) -> None:
    settings: Any = {
        "size": "auto", "quality": "xhigh", "output_format": "png", "output_compression": 100,
        "background": "auto", "moderation": "low", "style": "vivid", "user": "u",
        "safety_identifier": "s", "extra_body": {"seed": -1, "complexity": "low"},
    }  # fmt: skip
    answers = [sdk(url).images.generate(prompt=PROMPT, **settings) for _ in range(2)]
    assert answers[0].data != answers[1].data  # -1 is no seed
    assert answers[0].quality == "standard"
    plain = post(url, {"prompt": PROMPT, "seed": 3}).json()["data"]
    best = post(url, {"prompt": PROMPT, "seed": 3, "output_compression": 100}).json()["data"]
    assert best[0]["b64_json"] == plain[0]["b64_json"]


def test_n_images_have_the_seeds_that_follow(url: str) -> None:
    three = post(url, {"prompt": PROMPT, "n": 3, "seed": 7}).json()
    singles = [post(url, {"prompt": PROMPT, "seed": seed}).json() for seed in (7, 8, 9)]
    assert [data["hawk"]["seed"] for data in three["data"]] == [7, 8, 9]
    assert [d["b64_json"] for d in three["data"]] == [s["data"][0]["b64_json"] for s in singles]
    assert len({d["b64_json"] for d in three["data"]}) == 3
    assert three["usage"]["output_tokens"] == 3 * GRID**2
    assert three["usage"]["input_tokens"] == 3 * singles[0]["usage"]["input_tokens"]


def test_without_a_seed_images_differ_and_can_be_made_again(url: str) -> None:
    first, second = (post(url, {"prompt": PROMPT}).json()["data"][0] for _ in range(2))
    assert first["b64_json"] != second["b64_json"]
    again = post(url, {"prompt": PROMPT, "seed": first["hawk"]["seed"]}).json()["data"][0]
    assert again["b64_json"] == first["b64_json"]


def test_the_pictures_are_those_of_hawk_generate(url: str, tiny: Janus) -> None:
    own = Pipeline(tiny, drafter="plain", rule="coupled", slots=1)(PROMPT, seed=7).pictures[0]
    found: list[str] = []
    for drafter in ("auto", "jacobi", "plain"):
        [data] = post(url, {"prompt": PROMPT, "seed": 7, "drafter": drafter}).json()["data"]
        assert data["hawk"]["tokens_sha256"] == tokens_sha256(own.tokens)
        found.append(data["b64_json"])
    found.append(events(url, seed=7, partial_images=3)[-1]["b64_json"])
    for text in found:
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            assert ImageChops.difference(picture, own.image).getbbox() is None


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_pictures_say_what_made_them(url: str, tmp_path: Path, format: str) -> None:
    [data] = post(url, {"prompt": PROMPT, "seed": 7, "output_format": format}).json()["data"]
    file = tmp_path / "picture"
    file.write_bytes(base64.b64decode(data["b64_json"]))
    origin = read_origin(file)
    assert (origin.request.prompt, origin.request.seed) == (PROMPT, 7)
    assert origin.tokens_sha256 == data["hawk"]["tokens_sha256"]
    assert origin.maker.drafter == data["hawk"]["drafter"]


def test_hawk_says_how_it_was_made(url: str) -> None:
    [data] = post(url, {"prompt": PROMPT, "seed": 7, "drafter": "plain"}).json()["data"]
    made = data["hawk"]
    assert (made["drafter"], made["rule"], made["exact"]) == ("plain", "coupled", True)
    assert made["commits"] == [1] * GRID**2
    assert made["forwards"] == made["tokens"] == GRID**2
    assert made["tokens_per_forward"] == 1


def test_settings_reach_the_sampler(url: str) -> None:
    def make(**settings: Any) -> str:
        [data] = post(url, {"prompt": PROMPT, "seed": 7} | settings).json()["data"]
        return data["hawk"]["tokens_sha256"]

    settings = [
        {"guidance_scale": 1},
        {"guidance_scale": 9.5},
        {"temperature": 0},
        {"top_k": 2},
        {"top_p": 0.1},
    ]
    assert len({make(), *(make(**one) for one in settings)}) == len(settings) + 1
    assert make(guidance_scale=None, top_k=None, n=None, stream=None) == make()


@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_output_formats(url: str, form: str, kind: str) -> None:
    answer = post(url, {"prompt": PROMPT, "seed": 7, "output_format": form}).json()
    assert picture(answer["data"][0]["b64_json"]).format == kind
    assert answer["output_format"] == form


def test_compression_makes_files_smaller(url: str) -> None:
    sizes = []
    for quality in (0, 100):
        body = {"prompt": PROMPT, "output_format": "jpeg", "output_compression": quality}
        [data] = post(url, body | {"seed": 7}).json()["data"]
        sizes.append(len(data["b64_json"]))
    assert sizes[0] < sizes[1]


def test_streaming_shows_parts_and_then_the_image(url: str) -> None:
    stream = sdk(url).images.generate(
        prompt=PROMPT, stream=True, partial_images=3, extra_body={"seed": 7}
    )
    *parts, last = list(stream)
    assert last.type == "image_generation.completed"
    assert last.usage.output_tokens == GRID**2
    assert 1 <= len(parts) <= 3
    final = np.asarray(picture(last.b64_json))
    for number, part in enumerate(parts):
        assert part.type == "image_generation.partial_image"
        assert part.partial_image_index == number
        assert picture(part.b64_json).size == (PIXELS, PIXELS)
        assert not np.array_equal(np.asarray(picture(part.b64_json)), final)


def test_streaming_without_parts_is_one_event(url: str) -> None:
    [event] = events(url, partial_images=0)
    assert event["type"] == "image_generation.completed"
    assert {"created_at", "size", "quality", "background", "output_format"} <= set(event)


def test_streaming_several_images_tells_them_apart(url: str) -> None:
    found = events(url, n=3, partial_images=1, seed=7)
    done = [event for event in found if event["type"] == "image_generation.completed"]
    assert sorted(event["image_index"] for event in done) == [0, 1, 2]
    assert {e["image_index"]: e["hawk"]["seed"] for e in done} == {0: 7, 1: 8, 2: 9}


def test_every_row_can_be_watched(url: str) -> None:
    *parts, done = events(url, every_row=True, seed=7, drafter="plain")
    assert len(parts) == GRID - 1
    assert [sum(part["hawk"]["commits"]) // GRID for part in parts] == list(range(1, GRID))
    assert done["hawk"]["commits"][: len(parts[0]["hawk"]["commits"])] == [1] * GRID


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "prompt", "Missing required parameter: 'prompt'"),
        ({"prompt": None}, "prompt", "Missing"),
        ({"prompt": ""}, "prompt", "prompt"),
        ({"prompt": "  \n"}, "prompt", "the prompt is empty"),
        ({"prompt": 3}, "prompt", "string"),
        ({"prompt": "\ud800"}, "prompt", "prompt"),
        ({"model": "\ud800"}, "model", "surrogates"),
        ({"size": "\udfff"}, "size", "surrogates"),
        ({"quality": "\ud800"}, "quality", "unicode"),
        ({"drafter": "\ud800"}, "drafter", "surrogates"),
        ({"safety_identifier": "\ud800"}, "safety_identifier", "unicode"),
        ({"output_format": "\ud800"}, "output_format", "unicode"),
        ({"\ud800": 1}, None, "a parameter's name is not Unicode"),
        ({"prompt": "z" * 4001}, "prompt", "4001 characters, 4000 are the most"),
        ({"prompt": "z" * 3000}, "prompt", "tiny reads up to"),
        ({"prompt": f"a {PAD} b"}, "prompt", "special token"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 11}, "n", "less than or equal to 10"),
        ({"n": "3"}, "n", "integer"),
        ({"n": True}, "n", "integer"),
        ({"n": 1.5}, "n", "integer"),
        ({"size": "1024x1024"}, "size", "tiny makes 12x12"),
        ({"response_format": "url"}, "response_format", "not stored"),
        ({"output_format": "gif"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_compression": 101, "output_format": "jpeg"}, "output_compression", "100"),
        ({"background": "transparent"}, "background", "opaque"),
        ({"partial_images": 4}, "partial_images", "less than or equal to 3"),
        ({"stream": "yes"}, "stream", "boolean"),
        ({"seed": -2}, "seed", "greater than or equal to -1"),
        ({"seed": 2**63}, "seed", "less than"),
        ({"seed": 2**63 - 1, "n": 2}, "seed", "at most 2**63"),
        ({"seed": 10**400}, "seed", "seed"),
        ({"guidance_scale": 0.5}, "guidance_scale", "1"),
        ({"temperature": -1}, "temperature", "0"),
        ({"temperature": 5e-324}, "temperature", "0 or at least 0.001"),
        ({"top_p": 0}, "top_p", "0"),
        ({"drafter": "psychic"}, "drafter", "choose from auto, jacobi, plain"),
        ({"negative_prompt": "blur"}, "negative_prompt", "tiny reads no negative prompt"),
        ({"negative_prompt": "z" * 4001}, "negative_prompt", "4000 are the most"),
        ({"steps": 20}, "steps", "Unknown parameter: 'steps'"),
        ({"user": "u" * 257}, "user", "256"),
        ({"quality": "u" * 65}, "quality", "64"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named(
    url: str, body: dict[str, Any], param: str | None, words: str
) -> None:
    full = body if "prompt" in body or not body else {"prompt": PROMPT} | body
    for stream in (False, True):
        asked = full if "stream" in full else full | {"stream": stream}
        raw = json.dumps(asked).encode()
        response = httpx.post(
            f"{url}/v1/images/generations",
            content=raw,
            headers={"content-type": "application/json"},
            timeout=120,
        )
        error = error_of(response, 400)
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert words in error["message"]


def test_extreme_settings_break_no_replica(url: str) -> None:
    for settings in (
        {"temperature": 1e-3, "guidance_scale": 100},
        {"temperature": 100, "top_k": 1_000_000},
        {"top_p": 5e-324, "top_k": 1},
    ):
        assert post(url, {"prompt": PROMPT} | settings).status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 5000, b'{"prompt": NaN}', b"1e999"],
)
def test_bodies_that_are_no_requests(url: str, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    error_of(httpx.post(f"{url}/v1/images/generations", content=content, headers=headers), 400)


def test_bodies_of_another_type_are_refused(url: str) -> None:
    content = json.dumps({"prompt": PROMPT}).encode()
    headers = {"content-type": "text/plain"}  # what a foreign web page may send unasked
    response = httpx.post(f"{url}/v1/images/generations", content=content, headers=headers)
    assert "application/json" in error_of(response, 400)["message"]


def test_large_bodies_are_not_read(url: str) -> None:
    body = {"prompt": "z" * 70_000}
    assert error_of(post(url, body), 413)["code"] == "body_too_large"
    chunks = (b" " * 10_000 for _ in range(10))  # no length announced
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{url}/v1/images/generations", content=chunks, headers=headers)
    assert error_of(response, 413)["code"] == "body_too_large"


def test_errors_are_the_exceptions_of_the_openai_client(url: str, listen: Listen) -> None:
    client = sdk(url)
    with pytest.raises(openai.BadRequestError, match="tiny makes 12x12") as caught:
        client.images.generate(prompt=PROMPT, size="1024x1024")
    assert caught.value.param == "size"
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(prompt=PROMPT, model="dall-e-3")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        sdk(
            listen(
                keys=KEY,
            )
        ).models.list()


def test_models_are_listed(url: str) -> None:
    client = sdk(url)
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "hawk"
    error = error_of(httpx.get(f"{url}/v1/models/some/other"), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert httpx.get(f"{url}/v1/models/tiny").json()["sizes"] == ["12x12"]


def test_other_paths_and_methods_are_errors_of_the_same_shape(url: str) -> None:
    assert error_of(httpx.get(f"{url}/v1/nothing"), 404)["code"] == "not_found"
    refused = httpx.get(f"{url}/v1/images/generations")
    assert error_of(refused, 405)["code"] == "method_not_allowed"
    assert refused.headers["allow"] == "POST"
    assert httpx.put(f"{url}/v1/models").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/v1/models/tiny", "/metrics"])
def test_head_is_get_without_its_body(url: str, path: str) -> None:
    head, get = httpx.head(url + path), httpx.get(url + path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_a_slash_at_the_end_means_nothing(url: str) -> None:
    answer = httpx.post(f"{url}/v1/images/generations/", json={"prompt": PROMPT}, timeout=120)
    assert answer.status_code == 200
    assert httpx.get(f"{url}/v1/models/").json() == httpx.get(f"{url}/v1/models").json()


def test_the_description_has_keys_and_streams(url: str, listen: Listen) -> None:
    assert "securitySchemes" not in httpx.get(f"{url}/openapi.json").json()["components"]
    described = httpx.get(f"{listen(keys=KEY)}/openapi.json").json()
    [scheme] = described["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    operation = described["paths"]["/v1/images/generations"]["post"]
    assert operation["security"]
    assert set(operation["responses"]["200"]["content"]) == {
        "application/json", "text/event-stream",
    }  # fmt: skip
    assert "security" not in described["paths"]["/healthz"]["get"]


def test_health_and_page_need_no_key(listen: Listen) -> None:
    address = listen(keys=KEY)
    assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}
    page = httpx.get(address)
    assert "text/html" in page.headers["content-type"]
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Bearer {OTHER_KEY}", f"Basic {KEY}", KEY, "Bearer \xff"]
)
def test_strangers_stay_outside(listen: Listen, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    address = listen(keys=KEY)
    error = error_of(post(address, {"prompt": PROMPT}, headers=headers), 401)  # pyright: ignore
    assert error["code"] == "invalid_api_key"
    for path in ("/v1/models", "/metrics"):
        error_of(httpx.get(address + path, headers=headers), 401)  # pyright: ignore


def test_keys_open_the_door(listen: Listen) -> None:
    address = listen(keys=f"{KEY}, {OTHER_KEY}")
    for key in (KEY, OTHER_KEY):
        assert sdk(address, key).images.generate(prompt=PROMPT).data


def test_metrics_are_counted(url: str, tiny_folder: Path) -> None:
    def value(name: str) -> float:
        page = httpx.get(f"{url}/metrics").text
        lines = [line for line in page.splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    names = ("hawk_images_total", "hawk_tokens_total", "hawk_accepted_tokens_count")
    names += ("hawk_accepted_tokens_sum", 'hawk_accepted_tokens_bucket{le="+Inf"')
    before = {name: value(name) for name in names}
    forwards = post(url, {"prompt": PROMPT}).json()["data"][0]["hawk"]["forwards"]
    after = {name: value(name) - before[name] for name in names}
    assert list(after.values()) == [
        1,
        GRID**2,
        forwards - 1,
        GRID**2 - forwards,
        forwards - 1,
    ]
    assert value("hawk_slots_in_use") == value("hawk_waiting_images") == 0
    assert value('hawk_http_requests_total{path="/v1/images/generations"') > 0
    assert str(tiny_folder) not in httpx.get(f"{url}/metrics").text
