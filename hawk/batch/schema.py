"""Schema: the rows that go in and the rows that come out."""

import json

import pyarrow as pa

PROMPTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),  # id of the row as it was given
        pa.field("copy", pa.int32(), nullable=False),  # 0 to n - 1
        pa.field("prompt", pa.string(), nullable=False),
        ("negative_prompt", pa.string()),
        pa.field("seed", pa.int64(), nullable=False),
        ("guidance", pa.float64()),
        ("temperature", pa.float64()),
        ("top_k", pa.int64()),
        ("top_p", pa.float64()),
        ("size", pa.string()),
        ("output_format", pa.string()),
        ("output_compression", pa.int32()),
        ("error", pa.string()),  # what is wrong with the row as it was given
    ]
)
SAMPLER = pa.struct(
    [
        ("guidance", pa.float64()),
        ("temperature", pa.float64()),
        ("top_k", pa.int64()),
        ("top_p", pa.float64()),
    ]
)
_FIELDS = [
    ("id", pa.string()),
    ("item", pa.string()),
    ("copy", pa.int32()),
    ("prompt", pa.string()),
    ("negative_prompt", pa.string()),
    ("seed", pa.int64()),
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("model", pa.string()),
    ("model_revision", pa.string()),
    ("drafter", pa.string()),
    ("rule", pa.string()),
    ("exact", pa.bool_()),
    ("sampler", SAMPLER),
    ("tokens_sha256", pa.string()),
    ("tokens_per_forward", pa.float64()),
    ("forwards", pa.int64()),
    ("seconds", pa.float64()),
    ("error", pa.string()),
    ("error_type", pa.string()),
]
_HF_NAMES = {"double": "float64"}  # where datasets and Arrow call a type differently


def _features(fields: list[pa.Field]) -> dict[str, object]:
    """The fields as `datasets.Features` in JSON, so that images open as pictures."""
    features: dict[str, object] = {}
    for field in fields:
        kind = str(field.type)
        if field.name == "image":
            features[field.name] = {"_type": "Image"}
        elif pa.types.is_struct(field.type):
            features[field.name] = _features(list(field.type))
        else:
            features[field.name] = {"dtype": _HF_NAMES.get(kind, kind), "_type": "Value"}
    return features


IMAGES = pa.schema(
    _FIELDS,
    metadata={
        "huggingface": json.dumps({"info": {"features": _features(list(pa.schema(_FIELDS)))}})
    },
)
