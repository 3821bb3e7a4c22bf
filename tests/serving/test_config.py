"""Settings: one YAML file, every mistake named; and who may listen where."""

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.ports import free_port
from hawk.cli import serve as serve_cli
from hawk.cli.app import app
from hawk.serving.config import ModelConfig, ServeConfig, check_config, overridden, read_config
from hawk.serving.errors import ApiError
from hawk.serving.keys import VARIABLE, Keys
from hawk.serving.local_service import address, guarded, listening

KEY = "k" * 32
EXAMPLE = Path(__file__).parents[2] / "serve" / "settings.yaml"


def hawk(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["serve", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_the_example_says_what_is_the_default() -> None:
    assert read_config(EXAMPLE) == ServeConfig()
    written = yaml.safe_load(EXAMPLE.read_text())
    assert written.keys() == ServeConfig.model_fields.keys()
    assert written["model"].keys() == {*ModelConfig.__dataclass_fields__, "name"} - {"model"}
    stdout, _ = hawk("--check", EXAMPLE)
    assert "is fine" in stdout


def test_every_mistake_is_named(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("model: {slotz: 4, waiting: 1}\nreplicas: {floor: 3, ceiling: 2}\nhtpp: {}\n")
    _, stderr = hawk("--check", file, code=2)
    lines = stderr.strip().splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"hawk: {file}: ") for line in lines)
    for words in ("model.waiting", "unknown key model.slotz", "raise it", "unknown key htpp"):
        assert words in stderr


@pytest.mark.parametrize("text", ["model: [", "\xff", "- a list", "just text"])
def test_files_that_are_no_settings(tmp_path: Path, text: str) -> None:
    file = tmp_path / "serve.yaml"
    file.write_bytes(text.encode("latin-1"))
    _, stderr = hawk("--check", file, code=2)
    assert str(file) in stderr
    assert "Traceback" not in stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    _, stderr = hawk("--check", tmp_path / "none.yaml", code=2)
    assert "none.yaml" in stderr


def test_options_go_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("model: {slots: 4, waiting: 20}\nhttp:\nreplicas: {ceiling: 2}\n")
    options: dict[str, Any] = {"model": {"slots": 8}, "http": {"port": 9000}}
    config = overridden(file, options, cpus=8)
    assert (config.model.slots, config.model.waiting, config.model.model) == (8, 20, "emoji")
    assert config.http.port == 9000
    assert config.replicas.cpus == 4  # each replica half of the machine
    assert overridden(None, options, cpus=2).replicas.cpus == 2
    with pytest.raises(ValueError, match="options: model: slots must be 1 or more"):
        overridden(file, {"model": {"slots": -1}}, cpus=1)


def test_pages_and_names_are_written_as_browsers_send_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sections = {"allowed_hosts": ["hawk.lan", "[::1]"], "cors_origins": ["https://a.org:8443"]}
    config = check_config(sections, "test")
    assert (config.allowed_hosts[1], config.cors_origins) == ("[::1]", ("https://a.org:8443",))
    for name in ("hawk.lan:80", "https://hawk.lan", "Hawk.lan", "*", ""):
        with pytest.raises(ValueError, match=r"allowed_hosts\.0"):
            check_config({"allowed_hosts": [name]}, "test")
    for page in ("a.org", "null", "https://a.org/", "https://*.org"):
        with pytest.raises(ValueError, match=r"cors_origins\.0"):
            check_config({"cors_origins": [page]}, "test")
    monkeypatch.delenv(VARIABLE, raising=False)
    everybody = check_config({"cors_origins": ["*"]}, "test")
    with pytest.raises(ValueError, match="lets every web page use a service without keys"):
        guarded(everybody)


def test_a_folder_stays_private(tmp_path: Path) -> None:
    assert check_config({"model": {"name": str(tmp_path)}}, "test").served_as == tmp_path.name
    assert check_config({"model": {"name": "org/model"}}, "test").served_as == "org/model"


def test_strangers_need_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    local, public = ServeConfig(), check_config({"http": {"host": "0.0.0.0"}}, "test")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert guarded(local).keys == "open"
    with pytest.raises(ValueError, match=f"0.0.0.0 can be reached by others: set {VARIABLE}"):
        guarded(public)
    _, stderr = hawk("--host", "0.0.0.0", code=2)
    assert "or listen on 127.0.0.1" in stderr
    monkeypatch.setenv(VARIABLE, KEY)
    assert guarded(public).keys == guarded(local).keys == "required"


def test_keys_may_be_given_as_hashes() -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    assert not Keys(" , ")
    names = {
        Keys(text).check(f"Bearer {KEY}") for text in (KEY, f"x{KEY},{KEY}", f"sha256:{digest}")
    }
    assert len(names) == 1
    assert KEY not in names
    with pytest.raises(ApiError, match="Incorrect API key"):
        Keys(f"sha256:{digest}").check(f"Bearer {digest}")  # a leaked hash opens nothing
    with pytest.raises(ValueError, match="use 16 or more"):
        Keys(f"{KEY},short")


def test_a_port_that_is_taken_is_said_before_anything_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        _, stderr = hawk("--port", taken.getsockname()[1], code=1)
    assert "Address already in use" in stderr
    assert "give another --port" in stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_is_not_this_machines_is_said(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    _, stderr = hawk("--host", host, code=1)
    assert f"no listening on {host}:8000" in stderr
    assert "give another --host, a name or address of this machine" in stderr


def test_who_comes_before_the_model_is_there_waits() -> None:
    port = free_port()
    config = check_config({"http": {"port": port}}, "test")
    with listening(config) as listener, socket.create_connection(("127.0.0.1", port), timeout=5):
        assert address(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError, match="give another --port"):
            listening(config)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_cli, "NEEDED", ("no_such_package",))
    _, stderr = hawk(code=1)
    assert "serving needs no_such_package: run `pip install 'hawk-t2i[serve]'`" in stderr
