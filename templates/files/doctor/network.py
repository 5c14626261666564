"""The network: whether pip and uv reach a package index, and whether its certificate is trusted."""

import os
import socket
import ssl
import subprocess
from urllib.parse import urlsplit

from finding import limit, ok

PYTHON = "/usr/local/bin/python3"
DEFAULT = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
INDEXES = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")


def read(wait):
    """Which host is asked, and what became of it within `wait` seconds: a step that failed, and why."""
    os.environ["RES_OPTIONS"] = "timeout:1 attempts:1"  # the resolver would wait for half a minute
    index = next((os.environ[name] for name in INDEXES if os.environ.get(name)), None) or default_index()
    proxy = next((os.environ[name] for name in PROXIES if os.environ.get(name)), None)
    asked = urlsplit(proxy if proxy and "://" in proxy else "http://" + proxy if proxy else index or "")
    found = {"routes": routes(), "index": urlsplit(index or "").hostname, "proxy": asked.hostname if proxy else None}
    if not asked.hostname or not found["routes"]:
        return found
    found["failed"], found["why"] = reach(
        asked.hostname, asked.port or (80 if asked.scheme == "http" else 443), asked.scheme, wait
    )
    return found


def routes():
    """Whether any interface but the loopback one leads anywhere."""
    try:
        with open("/proc/net/route") as file:
            if len(file.readlines()) > 1:
                return True
        with open("/proc/net/ipv6_route") as file:
            return any(not line.rstrip().endswith(" lo") for line in file)
    except OSError:
        return False


def default_index():
    """The index that pip asks where it is told of no other; None without pip."""
    done = subprocess.run([PYTHON, "-IB", "-c", DEFAULT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode().strip() or None


def reach(host, port, scheme, wait):
    """The step that failed on the way to a host, and why; (None, "") if it answers, and its certificate is trusted."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
    except OSError as error:
        return "name", str(error)
    try:
        with socket.create_connection(address[:2], timeout=wait) as plain:
            if scheme == "https":
                bundle = next((os.environ[name] for name in BUNDLES if os.environ.get(name)), None)
                with ssl.create_default_context(cafile=bundle).wrap_socket(plain, server_hostname=host):
                    pass
    except ssl.SSLError as error:
        return "certificate", str(error)
    except OSError as error:
        return "connection", str(error)
    return None, ""


def judge(contract, found):
    """Whether packages can be installed from here."""
    who = "the proxy {}".format(found["proxy"]) if found["proxy"] else found["index"]
    if not found["routes"]:
        return [limit("network", "this container has no network", "leave out --network none, if it should have one")]
    if "failed" not in found:
        return [limit("network", "there is a network, but neither pip nor a variable names an index")]
    if found["failed"] == "name":
        step = "docker run --dns ADDRESS, or HTTPS_PROXY where a proxy resolves names"
        return [limit("network", "the name of {} can't be resolved: {}".format(who, found["why"]), step)]
    if found["failed"] == "connection":
        return [
            limit(
                "network",
                "{} does not answer: {}".format(who, found["why"]),
                "HTTPS_PROXY, or PIP_INDEX_URL and UV_DEFAULT_INDEX",
            )
        ]
    if found["failed"] == "certificate":
        step = "docker run -v /your/ca-bundle.crt:/ca.crt:ro --env SSL_CERT_FILE=/ca.crt --env PIP_CERT=/ca.crt"
        return [limit("network", "the certificate of {} is not trusted here: {}".format(who, found["why"]), step)]
    return [ok("network", f"{who} answers")]
