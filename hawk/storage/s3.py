"""S3: Arrow's filesystem for data; boto3 to say within seconds what is wrong with a bucket."""

import datetime
import os
from typing import Any

from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

ATTEMPTS = 10  # of Arrow, with growing pauses, on SlowDown, 5xx and connections that break
TIMEOUT_S = 60
CHECK_TIMEOUT_S = 1.5  # three attempts and their pauses stay below ten seconds
UNCONDITIONAL = ("NotImplemented", "InvalidArgument", "501")  # of what an S3 does not know
STALE_UPLOAD = datetime.timedelta(days=1)
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")


def _first_set(variables: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


def filesystem(endpoint: str | None) -> S3FileSystem:
    """Credentials come from where AWS tools look for them: variables, profile, machine role."""
    endpoint = endpoint or _first_set(ENDPOINT_VARIABLES)
    options: dict[str, Any] = {}
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        options = {"endpoint_override": host, "scheme": scheme or "https"}
    if region := _first_set(REGION_VARIABLES):
        options["region"] = region
    return S3FileSystem(
        allow_delayed_open=True,  # one PUT where a file is small
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        connect_timeout=TIMEOUT_S,
        request_timeout=TIMEOUT_S,
        **options,
    )


def path_of(url: str) -> str:
    """Bucket and key of a URL, as Arrow wants them. ValueError where a part is `.` or `..`."""
    bucket, *parts = url.removeprefix("s3://").split("/")
    if not bucket:
        raise ValueError(f"{url} names no bucket: give s3://bucket/folder")
    if {".", ".."} & set(parts):
        raise ValueError(f"{url} holds . or .., which S3 takes for names: write it out")
    return "/".join([bucket, *filter(None, parts)])


def check_readable(url: str, endpoint: str | None) -> None:
    """ValueError, in seconds, where the bucket is not there, not ours, or elsewhere."""
    bucket = _split(url)[0]
    client = _client(endpoint)
    answer = _ask(bucket, lambda: client.head_bucket(Bucket=bucket))
    region = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    ours = _first_set(REGION_VARIABLES)
    if region and ours and region != ours:
        raise ValueError(
            f"bucket {bucket!r} is in {region}, not in {ours}: set AWS_REGION={region}"
        )


def check_writable(url: str, endpoint: str | None) -> None:
    """Check as `check_readable` does, and write and remove a small object."""
    check_readable(url, endpoint)
    bucket, prefix = _split(url)
    client = _client(endpoint)
    key = f"{prefix}/_writable" if prefix else "_writable"
    _ask(bucket, lambda: client.put_object(Bucket=bucket, Key=key, Body=b""))
    _ask(bucket, lambda: client.delete_object(Bucket=bucket, Key=key))


def put_new(path: str, data: bytes, endpoint: str | None) -> bool:
    """Make an object unless it is there; False where it is.

    An S3 that knows no conditions is asked first whether it is: two who ask at the same moment may
    both make it there.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = path.partition("/")
    client, place = _client(endpoint), {"Bucket": bucket, "Key": key}
    try:
        client.put_object(Body=data, IfNoneMatch="*", **place)
    except ClientError as error:
        code = _code(error)
        if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
            return False
        if code not in UNCONDITIONAL:
            raise ValueError(_complaint(bucket, error)) from error
        if _is_there(client, place):
            return False
        _ask(bucket, lambda: client.put_object(Body=data, **place))
    except BotoCoreError as error:
        raise ValueError(_complaint(bucket, error)) from error
    return True


def _is_there(client: Any, place: dict[str, str]) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_object(**place)
    except ClientError as error:
        if _code(error) in ("404", "NoSuchKey"):
            return False
        raise ValueError(_complaint(place["Bucket"], error)) from error
    return True


def abort_old_uploads(url: str, endpoint: str | None) -> None:
    """Drop multipart uploads below a prefix that nobody can be working on any more.

    They only cost room: where that is not allowed or not known, they stay. ValueError where the
    bucket does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = _split(url)
    client = _client(endpoint)
    before = datetime.datetime.now(datetime.UTC) - STALE_UPLOAD
    try:
        answer = client.list_multipart_uploads(Bucket=bucket, Prefix=f"{prefix}/")
        for upload in answer.get("Uploads", []):
            if upload["Initiated"] < before:
                client.abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
    except ClientError as error:
        if _code(error) not in ("AccessDenied", "NoSuchUpload", "403", "404", *UNCONDITIONAL):
            raise ValueError(_complaint(bucket, error)) from error
    except BotoCoreError as error:
        raise ValueError(_complaint(bucket, error)) from error


def _split(url: str) -> tuple[str, str]:
    bucket, _, prefix = path_of(url).partition("/")
    return bucket, prefix


def _client(endpoint: str | None) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ValueError("S3 needs boto3: pip install 'hawk-t2i[s3]'") from error
    return boto3.Session().client(  # the default one would keep credentials that have changed
        "s3",
        endpoint_url=endpoint or _first_set(ENDPOINT_VARIABLES),
        region_name=_first_set(REGION_VARIABLES),
        config=Config(
            connect_timeout=CHECK_TIMEOUT_S,
            read_timeout=CHECK_TIMEOUT_S,
            retries={"total_max_attempts": 3, "mode": "standard"},
        ),
    )


def _code(error: Any) -> str:
    """The code that S3 gave with a ClientError."""
    return error.response.get("Error", {}).get("Code", "")


def _ask(bucket: str, request: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return request()
    except (BotoCoreError, ClientError) as error:
        raise ValueError(_complaint(bucket, error)) from error


def _complaint(bucket: str, error: Exception) -> str:
    answer = getattr(error, "response", None) or {}  # a timeout has one, which is None
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    region = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
    if status == 404:
        return f"no bucket {bucket!r}: make it first, or mend the URL"
    if status in (301, 400) and region:
        return f"bucket {bucket!r} is in {region}: set AWS_REGION={region}"
    if status in (401, 403):
        return (
            f"access to bucket {bucket!r} is denied: check AWS_ACCESS_KEY_ID, "
            f"AWS_SECRET_ACCESS_KEY and what they may do"
        )
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    return f"bucket {bucket!r} does not answer: {error}"
