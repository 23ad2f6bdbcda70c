"""A real nginx in front of an API process, which serves it under a path prefix."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.processes import running
from tests.support.waiting import wait_until

# `proxy_pass` with a path replaces the prefix; without one it keeps it.
CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    absolute_redirect off;
    location {prefix}/ {{
      proxy_pass http://127.0.0.1:{api_port}{path};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
    location / {{ return 404; }}
  }}
}}
"""


def find_nginx() -> str:
    """The program. Skips the test where it is not installed."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx)")
    return found


@contextmanager
def running_nginx(*, port: int, api_port: int, prefix: str, keeps_prefix: bool) -> Iterator[None]:
    """Serve the API under `prefix` on `port`. Every other path is nginx's own 404."""
    program = find_nginx()
    with tempfile.TemporaryDirectory(prefix="makegood-nginx-") as directory:
        path = Path(directory) / "nginx.conf"
        values = {"port": port, "api_port": api_port, "prefix": prefix, "directory": directory}
        path.write_text(CONFIGURATION.format(path="" if keeps_prefix else "/", **values))
        with running(program, "-e", "stderr", "-p", directory, "-c", str(path)) as nginx:
            url = f"http://127.0.0.1:{port}{prefix}/livez"
            wait_until(lambda: _is_served(url), what=f"nginx serves the API:\n{nginx.output}")
            yield


def _is_served(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
