"""Logins of real registries: passwords, tokens that end, and credential helpers."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.__main__ import main
from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.docker_credentials import RegistryLogin, find_login
from tests.http_servers import open_server, serving
from tests.predictor.builder.transfer.docker_registry import RegistryServer, running_registry

PASSWORD = "correct horse"
HTPASSWD = "user:$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n"
"""The password above by bcrypt."""
LOGIN = base64.b64encode(f"user:{PASSWORD}".encode()).decode()


def write_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / "docker").mkdir(exist_ok=True)
    (tmp_path / "docker" / "config.json").write_text(json.dumps(document))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def push(release: Path, registry: RegistryServer) -> int:
    return main(["release", "push", str(release), f"{registry.host}/private:v1", "--plain-http"])


def test_a_password_of_docker_login(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    with running_registry(tmp_path, auth) as registry:
        assert push(release, registry) == 2
        assert "run docker login first" in capsys.readouterr().err
        wrong = base64.b64encode(b"user:wrong").decode()
        write_config(monkeypatch, tmp_path, {"auths": {registry.host: {"auth": wrong}}})
        assert push(release, registry) == 2
        assert "docker login" in capsys.readouterr().err
        write_config(monkeypatch, tmp_path, {"auths": {registry.host: {"auth": LOGIN}}})
        assert push(release, registry) == 0
        reference = f"{registry.host}/private:v1"
        assert main(["release", "pull", reference, str(tmp_path / "pulled"), "--plain-http"]) == 0


class TokenServer(BaseHTTPRequestHandler):
    """Signs tokens as docker's token specification asks for."""

    key: Path
    certificate: str
    life_s = 60
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        type(self).asked.append((query["scope"][0], self.headers.get("Authorization")))
        kind, name, actions = query["scope"][0].split(":")
        now = int(time.time())
        granted = actions.split(",") if self.headers.get("Authorization") == f"Basic {LOGIN}" else []
        claims = {
            "iss": "issuer", "sub": "user", "aud": query["service"][0], "exp": now + self.life_s, "nbf": now - 10,
            "iat": now, "jti": "1", "access": [{"type": kind, "name": name, "actions": granted}],
        }  # fmt: skip
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self.certificate]}
        signed = ".".join(_encoded(json.dumps(each).encode()) for each in (header, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.key)],
            input=signed.encode(), check=True, capture_output=True,
        ).stdout  # fmt: skip
        body = json.dumps({"token": f"{signed}.{_encoded(signature)}", "expires_in": self.life_s}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.fixture
def token_server(tmp_path: Path) -> Iterator[str]:
    """The URL of a token server, whose certificate is ``certificate.pem``."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=issuer", "-days", "2",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    lines = certificate.read_text().splitlines()
    TokenServer.key, TokenServer.certificate = key, "".join(lines[1:-1])
    TokenServer.asked, TokenServer.life_s = [], 60
    with serving(open_server(TokenServer)) as url:
        yield f"{url}/token"


def test_tokens_are_asked_for_with_the_password_and_again_when_they_end(
    release: Path,
    tmp_path: Path,
    token_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = str(tmp_path / "certificate.pem")
    auth = {
        "token": {"realm": token_server, "service": "registry", "issuer": "issuer", "rootcertbundle": bundle}
    }
    with running_registry(tmp_path, auth) as registry:
        assert push(release, registry) == 2
        assert "docker login" in capsys.readouterr().err
        write_config(monkeypatch, tmp_path, {"auths": {registry.host: {"auth": LOGIN}}})
        TokenServer.asked.clear()
        assert push(release, registry) == 0
        assert TokenServer.asked == [("repository:private:pull,push", f"Basic {LOGIN}")]
        TokenServer.life_s = 0
        TokenServer.asked.clear()
        reference = f"{registry.host}/private:v1"
        assert main(["release", "pull", reference, str(tmp_path / "pulled"), "--plain-http"]) == 0
        assert len(TokenServer.asked) > 3


def test_a_credential_helper_is_asked(tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        "#!/bin/sh\nread -r host\n"
        'if [ "$host" = known ]; then echo \'{"Username": "me", "Secret": "secret"}\'; exit 0; fi\n'
        'if [ "$host" = token ]; then echo \'{"Username": "<token>", "Secret": "t"}\'; exit 0; fi\n'
        'if [ "$host" = broken ]; then echo "locked"; exit 1; fi\n'
        'echo "credentials not found in native keychain"; exit 1\n'
    )
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(
        json.dumps({"credsStore": "test", "credHelpers": {"gcr": "absent"}})
    )
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert find_login("known", environ) == RegistryLogin("me", "secret")
    assert find_login("token", environ) == RegistryLogin("<token>", "t", is_identity_token=True)
    assert find_login("unknown", environ) is None
    with pytest.raises(TransferFailed, match="docker-credential-test failed: locked"):
        find_login("broken", environ)
    with pytest.raises(TransferFailed, match=r"docker-credential-absent, which .* cannot be run"):
        find_login("gcr", environ)


def test_logins_are_looked_for_where_docker_and_podman_keep_them(tmp_path: Path) -> None:
    def written(path: Path, document: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    environ = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert find_login("registry.example.com", environ) is None
    entry = {"auth": base64.b64encode(b"podman:p:q").decode()}
    written(tmp_path / "run" / "containers" / "auth.json", {"auths": {"registry.example.com": entry}})
    assert find_login("registry.example.com", environ) == RegistryLogin("podman", "p:q")
    hub = {"https://index.docker.io/v1/": {"identitytoken": "it"}}
    written(tmp_path / "home" / ".docker" / "config.json", {"auths": hub})
    assert find_login("docker.io", environ) == RegistryLogin("", "it", is_identity_token=True)
    written(tmp_path / "auth.json", {"auths": {"docker.io": {"auth": LOGIN}}})
    environ["REGISTRY_AUTH_FILE"] = str(tmp_path / "auth.json")
    assert find_login("docker.io", environ) == RegistryLogin("user", PASSWORD)
    written(tmp_path / "auth.json", {"auths": {"docker.io": {"auth": "?"}}})
    with pytest.raises(TransferFailed, match=r"auth\.json is not a file that docker login has written"):
        find_login("docker.io", environ)
